"""`streamflow run` on Kafka: worker processes that share the work, are replaced when killed, and end together."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import STREAMFLOW, Ground

_names = count()


@pytest.fixture
def ground(quick_kafka: KafkaServer, tmp_path: Path) -> Ground:
    return Ground(tmp_path / "ground", quick_kafka.bootstrap, f"run-{next(_names)}", 10_000, session_timeout_s=2).make()


@pytest.fixture
def run(ground: Ground) -> Iterator[subprocess.Popen[bytes]]:
    """Two workers, until the end of the input."""
    process = started(ground, "--workers", "2", "--until-end", "--json")
    yield process
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.communicate()


def started(ground: Ground, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*STREAMFLOW, "run", "workflow.yaml", "--log", f"kafka://{ground.bootstrap}", *options],
        cwd=ground.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def called(ground: Ground, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*STREAMFLOW, *words, "--log", f"kafka://{ground.bootstrap}"],
        cwd=ground.folder,
        capture_output=True,
        check=False,
    )


def children(process: subprocess.Popen[bytes], wanted: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while len(found := psutil.Process(process.pid).children()) < wanted:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.timeout(300)
def test_two_processes_share_the_work_and_end_at_its_end(ground: Ground, run: subprocess.Popen[bytes]) -> None:
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err.decode()
    facts = json.loads(out)
    assert facts["stages"]["numbers"] == ground.count
    assert facts["lag"] == 0
    ground.judge()
    assert json.loads(called(ground, "audit", "workflow.yaml", "--json").stdout)["ok"]


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_is_replaced(ground: Ground, run: subprocess.Popen[bytes]) -> None:
    ground.wait_for(1)
    children(run, 2)[0].kill()
    out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err.decode()
    assert b"worker_replaced" in err
    assert json.loads(out)["lag"] == 0
    ground.judge()


@pytest.mark.timeout(300)
def test_a_signal_ends_all_of_them_and_what_was_begun_is_committed(ground: Ground) -> None:
    process = started(ground, "--workers", "2")
    ground.wait_for(100)
    refused = called(ground, "reset", "workflow.yaml", "--yes")
    assert refused.returncode == 1
    assert b"is run by" in refused.stderr
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err.decode()
    done = ground.done()
    assert done > 0
    assert called(ground, "run", "workflow.yaml", "--until-end").returncode == 0
    ground.judge()


@pytest.mark.timeout(300)
def test_workers_end_when_whoever_started_them_is_killed(ground: Ground) -> None:
    process = started(ground, "--workers", "2")
    workers = children(process, 2)
    ground.wait_for(100)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert called(ground, "run", "workflow.yaml", "--until-end").returncode == 0
    ground.judge()
