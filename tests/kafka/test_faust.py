"""A Faust user's day: an app with agents of its own beside a workflow, and timers that fire once in a cluster."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import fastavro
import pytest

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import KEYS, PARSED, SCHEMA, Ground, create_topics, encoded, read_all

_names = count()

# What a user writes: an agent that reads our Avro topic and feeds another workflow.
APP = """\
import sys
from pathlib import Path

import faust

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.workers.faust import AvroCodec, app as streamflow_app
from streamflow.workflow.load import load

log, name = sys.argv[1], sys.argv[2]
del sys.argv[1:]
document, _ = load(Path("workflow.yaml"))
topology, findings = compile_document(document, registry())
assert topology is not None, findings
app = streamflow_app(topology, log, session_timeout_ms=3000, broker_commit_interval=0.2)
avro = AvroCodec(Path("number.avsc").read_text())
evens = app.topic(f"{name}.odds", value_serializer=avro, key_serializer="raw", value_type=bytes)
again = app.topic(f"{name}.again", value_serializer=avro, key_serializer="raw", value_type=bytes)


@app.agent(evens)
async def double(numbers):
    async for key, number in numbers.items():
        await again.send(key=key, value={"n": number["n"] * 2, "k": number["k"]})


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
"""

TIMER = """\
import sys

import faust

from streamflow.workers.faust import every

log, name = sys.argv[1], sys.argv[2]
app = faust.App(name, broker=log.replace("kafka://", "aiokafka://"), store="memory://", web_enabled=False,
                topic_partitions=1, broker_session_timeout=3, broker_heartbeat_interval=0.5)
every(app, 1.0, name="beat", log=log)


@app.timer(0.2, on_leader=True)
async def lead():
    print("leads", flush=True)


if __name__ == "__main__":
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def start(folder: Path, script: str, *args: str) -> subprocess.Popen[bytes]:
    (folder / "app.py").write_text(script)
    said = (folder / f"app-{time.monotonic_ns()}.out").open("wb")
    with said:
        return subprocess.Popen([sys.executable, "app.py", *args], cwd=folder, stdout=said, stderr=subprocess.STDOUT)


def said(folder: Path) -> str:
    return "\n".join(f"-- {out.name}\n{out.read_text()[-2_000:]}" for out in sorted(folder.glob("app-*.out")))


@pytest.mark.timeout(300)
def test_an_agent_of_the_users_own_reads_our_topic_and_feeds_on(
    quick_kafka: KafkaServer, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    name = f"day-{next(_names)}"
    ground = Ground(tmp_path, quick_kafka.bootstrap, name, 400).make()
    create_topics(quick_kafka.bootstrap, [f"{name}.again"], 4)
    process = start(tmp_path, APP, quick_kafka.address, name)
    started.append(process)
    wanted = sorted(n * 2 for n in range(1, 400, 2))
    deadline = time.monotonic() + 120
    while True:
        again = [value for _, value in read_all(quick_kafka.bootstrap, f"{name}.again", 4)]
        if len(again) >= len(wanted):
            break
        assert process.poll() is None, said(tmp_path)
        assert time.monotonic() < deadline, f"{len(again)} of {len(wanted)}\n{said(tmp_path)}"
        time.sleep(0.2)
    assert sorted(decoded(value)["n"] for value in again) == wanted
    while ground.lag() or ground.lag():  # evens have a stage more before them
        assert time.monotonic() < deadline, said(tmp_path)
        time.sleep(0.2)
    process.terminate()
    assert process.wait(60) == 0, said(tmp_path)
    ground.judge()


def decoded(value: bytes) -> dict[str, int]:
    record = fastavro.schemaless_reader(io.BytesIO(value), PARSED, None)
    assert isinstance(record, dict)
    return record


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_timer_fires_once_a_tick_while_leaders_are_killed(
    quick_kafka: KafkaServer, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """Method: three apps, the one that leads is killed and replaced, twice; then every tick stands there once."""
    name = f"beat-{next(_names)}"
    apps: dict[Path, subprocess.Popen[bytes]] = {}
    for _ in range(3):
        join(tmp_path, quick_kafka, name, apps, started)
    seen = 0
    for _ in range(2):
        seen = wait_for_ticks(quick_kafka, name, seen + 3, apps)
        leader = max((f for f, p in apps.items() if p.poll() is None), key=leads)
        apps.pop(leader).kill()
        join(tmp_path, quick_kafka, name, apps, started)
    wait_for_ticks(quick_kafka, name, seen + 4, apps)
    numbers = [json.loads(value)["number"] for _, value in read_all(quick_kafka.bootstrap, f"{name}.beat.ticks", 1)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def join(
    tmp_path: Path,
    server: KafkaServer,
    name: str,
    apps: dict[Path, subprocess.Popen[bytes]],
    started: list[subprocess.Popen[bytes]],
) -> None:
    folder = tmp_path / f"app-{len(started)}"
    folder.mkdir()
    apps[folder] = start(folder, TIMER, server.address, name)
    started.append(apps[folder])


def leads(folder: Path) -> float:
    """When the app last said that it leads."""
    (out,) = folder.glob("app-*.out")
    return out.stat().st_mtime if "leads" in out.read_text() else 0.0


def wait_for_ticks(server: KafkaServer, name: str, wanted: int, apps: dict[Path, subprocess.Popen[bytes]]) -> int:
    from confluent_kafka.admin import AdminClient

    topic, admin = f"{name}.beat.ticks", AdminClient({"bootstrap.servers": server.bootstrap})
    deadline = time.monotonic() + 120
    while True:
        there = topic in admin.list_topics(timeout=30).topics
        found = len(list(read_all(server.bootstrap, topic, 1))) if there else 0
        if found >= wanted:
            return found
        assert time.monotonic() < deadline, f"{found} of {wanted} ticks\n" + "\n".join(said(f) for f in apps)
        time.sleep(0.2)


def test_the_codec_writes_what_the_encoder_writes() -> None:
    from streamflow.workers.faust import AvroCodec

    codec = AvroCodec(SCHEMA)
    for n in (0, 1, 300, 2**40):
        value = {"n": n, "k": f"k{n % KEYS}"}
        assert codec.loads(codec.dumps(value)) == value
    assert codec.dumps({"n": 3, "k": "k3"}) == encoded(3)
