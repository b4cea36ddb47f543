"""At least once on a real broker: a worker that is killed between its outputs and its commit loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from streamflow.logs import open_log
from streamflow.sdk.crash import APPEND_POINTS, KAFKA_POINTS
from streamflow.testing.kafka_server import KafkaServer
from tests.simulation.running import opened, send, values
from tests.simulation.test_at_least_once import COUNT, WORKFLOW


@pytest.mark.parametrize("point", [*APPEND_POINTS, KAFKA_POINTS[0]])
def test_a_killed_worker_loses_nothing(quick_kafka: KafkaServer, tmp_path: Path, point: str) -> None:
    address, name = f"kafka://{quick_kafka.bootstrap}", f"early-{point}"
    text = WORKFLOW.replace("workflow: early", f"workflow: {name}").replace("10s", "5ms")
    for topic in ("in", "out", "copy"):
        text = text.replace(f"topic: {topic},", f"topic: {name}.{topic},")
    (tmp_path / "workflow.yaml").write_text(text)

    async def fill() -> None:
        await opened(open_log(address), lambda log: send(
            log, f"{name}.in", [{"n": n} for n in range(COUNT)], partitions=2, batch=3
        ))  # fmt: skip

    async def seen(topic: str) -> Counter[int]:
        found = await opened(open_log(address), lambda log: values(log, f"{name}.{topic}"))
        return Counter(item["n"] for item in found)

    def run(crash_at: str = "") -> int:
        command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--log", address, "--until-end"]
        environment = {**os.environ, "STREAMFLOW_CRASH_AT": crash_at, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=240, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return done.returncode

    asyncio.run(fill())
    assert run(f"{point}:2") == -signal.SIGKILL
    assert run() == 0
    for topic in ("out", "copy"):
        found = asyncio.run(seen(topic))
        assert set(found) == set(range(COUNT))
        assert sum(found.values()) < 2 * COUNT
