"""Two workflows and two processes on Kafka: each process runs both, and they share the partitions of both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import STREAMFLOW

_names = count()
COUNT = 4_000
FLOW = """
workflow: NAME
nodes:
  numbers: {type: event, topic: NAME.in, format: json}
  more: {type: set, fields: {n: 'long(n) + 1'}}
  out: {type: publish, topic: NAME.out, format: json}
connections: [numbers -> more -> out]
policies: {partitions: 4, step_bytes_max: 4000, weight: 2}
"""


@pytest.mark.timeout(300)
def test_two_workflows_and_two_processes(quick_kafka: KafkaServer, tmp_path: Path) -> None:
    """Method: one process of two is killed when something was committed; the other ends all. Then audit of both."""
    names = [f"several-{next(_names)}-{side}" for side in ("a", "b")]
    log = f"kafka://{quick_kafka.bootstrap}"

    def call(*words: str) -> str:
        done = subprocess.run(
            [*STREAMFLOW, *words, "--log", log], cwd=tmp_path, capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "in.jsonl").write_text("".join(f'{{"n": {n}, "k": "{n % 50}"}}\n' for n in range(COUNT)))
    for name in names:
        (tmp_path / f"{name}.yaml").write_text(FLOW.replace("NAME", name))
        call("send", f"{name}.in", "in.jsonl", "--format", "jsonl", "--key", "k", "--partitions", "4")
    files = [f"{name}.yaml" for name in names]
    limits = ["--held-bytes-max", "20000", "--held-executions-max", "500"]
    other = subprocess.Popen(
        [*STREAMFLOW, "run", *files, *limits, "--metrics", "m.json", "--log", log],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip
    metrics, deadline = tmp_path / "m.json", time.monotonic() + 100

    def begun() -> bool:
        if not metrics.exists() or not (text := metrics.read_text()):
            return False
        return all(told["commits"] > 0 for told in json.loads(text)["workflows"].values())

    try:
        while not begun():
            assert other.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first = subprocess.Popen(
            [*STREAMFLOW, "run", *files, *limits, "--until-end", "--json", "--log", log],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(3)
    finally:
        other.kill()
        other.communicate()
    out, err = first.communicate(timeout=200)
    assert first.returncode == 0, err.decode()
    facts = json.loads(out)
    assert set(facts["workflows"]) == set(names)
    assert facts["scheduler"]["held_bytes"] == 0
    assert facts["scheduler"]["held_executions_peak"] <= 500
    for name in names:
        lines = call("tail", f"{name}.out", "--from", "earliest", "--no-follow", "--json").splitlines()
        numbers = Counter(json.loads(line)["value"]["n"] for line in lines)
        assert numbers == Counter(range(1, COUNT + 1))
        assert json.loads(call("audit", f"{name}.yaml", "--json"))["ok"]
