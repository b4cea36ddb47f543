"""Rows that go round between tasks of two processes: a run ends when none is on its way, also where one was killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from streamflow.testing.kafka_server import KafkaServer
from tests.golden.test_topologies import ROOT, call, records
from tests.kafka.ground import STREAMFLOW

COPIES = 40


@pytest.mark.parametrize("kills", [False, True])
def test_two_workers_end_when_nothing_goes_round_any_more(
    kills: bool, quick_kafka: KafkaServer, tmp_path: Path
) -> None:
    """Method: the example of a keyed loop with more parcels, run by two processes, one of which is replaced."""
    name = f"loops-{kills}".lower()
    folder = shutil.copytree(ROOT / "loop-keyed", tmp_path / "loop")
    workflow = folder / "workflow.yaml"
    workflow.write_text(workflow.read_text().replace("loop-keyed", name))
    lines = (folder / "input" / "parcels.jsonl").read_text().splitlines()
    parcels = [{**json.loads(line), "parcel": f"{n}-{i}"} for n in range(COPIES) for i, line in enumerate(lines)]
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps(parcel) + "\n" for parcel in parcels))
    call("send", f"{name}.parcels", many, "--key", "parcel", "--log", quick_kafka.address)
    command = [*STREAMFLOW, "run", "workflow.yaml", "--log", quick_kafka.address, "--workers", "2", "--until-end"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if kills:
            deadline = time.monotonic() + 60
            while len(workers := psutil.Process(process.pid).children()) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(4.0)
            if process.poll() is None:
                workers[0].kill()
        out, err = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()[-3000:]}"
    found = records(f"{name}.delivered", quick_kafka.address)
    assert sorted(str(r["key"]) for r in found) == sorted(str(p["parcel"]) for p in parcels)
    for record in found:
        item = dict(record["value"])  # type: ignore[call-overload]
        route = item["route"]
        assert item["results"] == route
        assert (item["places"], item["detours"]) == (len(set(route)), len(route) - len(set(route)))
    audit = json.loads(call("audit", workflow, "--log", quick_kafka.address, "--json"))
    assert audit["ok"], audit
