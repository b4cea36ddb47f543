"""Items that are put aside: through commits, restarts, faults, SIGKILL at each step of a commit, and replays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import POINTS
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

WORKFLOW = """\
workflow: parked
nodes:
  numbers: {{type: event, topic: in, format: json}}
  shaky:
    type: function
    function: "tests.simulation.shaky:{function}"
    retry:
      {{mode: park, attempts: {attempts}, delay: {delay}, backoff: exponential, delay_max: {delay_max}, jitter: 0.2}}
  out: {{type: publish, topic: out, format: json}}
{more}
policies: {{commit_interval: 1ms, step_bytes_max: 300}}
"""
PLAIN = "connections: [numbers -> shaky -> out]"


async def send(log: Log, rows: list[tuple[int, int]], *, partition: int = 0) -> None:
    """Items {k, n} with key k."""
    if "in" not in await log.topics():
        await log.create_topic(TopicSpec(name="in", partitions=1))
    producer = await log.producer("send")
    await producer.begin()
    for at in range(0, len(rows), 5):
        found = [
            Record(0, 1_000 + n, str(k).encode(), json.dumps({"k": k, "n": n}).encode(), [])
            for k, n in rows[at : at + 5]
        ]
        await producer.append(TopicPartition("in", partition), [from_records(found)])
    await producer.commit()
    await producer.close()


def by_key(items: list[dict[str, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for item in items:
        found[item["k"]].append(item["n"])
    return dict(found)


def test_a_task_wakes_restarts_and_is_replayed(tmp_path: Path) -> None:
    """Method: a task on a clock that the test moves; a new task takes over while items wait; then a replay."""
    text = WORKFLOW.format(function="thirds", attempts=3, delay="1s", delay_max="30s", more=PLAIN)
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in range(1, 40)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        before = by_key(await values(log, "out"))
        assert {k: ns[-1] for k, ns in before.items()} == {0: 8, 1: 5, 2: 2}, "each key stops at its first third"
        assert 3 not in before
        await bench.start("numbers", 0)
        for _ in range(60):
            bench.now_ms += 700
            await bench.work("numbers", 0)
        await send(log, [(n % 4, n) for n in range(40, 60)])
        await bench.work("numbers", 0)
        await bench.start("numbers", 0)
        for _ in range(60):
            bench.now_ms += 700
            await bench.work("numbers", 0)
        expected = {k: [n for n in range(1, 60) if n % 4 == k and n % 3] for k in range(4)}
        assert by_key(await values(log, "out")) == expected
        letters = await contents(log, "parked.dead-letter")
        assert len(letters[0]) == len([n for n in range(1, 60) if n % 3 == 0])
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_time_by_the_clock_and_parking_replay_alike(tmp_path: Path) -> None:
    """Method: a window by the clock beside a node that parks, in one stage; then all is replayed."""
    more = (
        "  counts: {type: window, key: string(k), size: 10s, fields: {all: {function: count}}}\n"
        "  counted: {type: publish, topic: counted, format: json}\n"
        "  late: {type: publish, topic: late, format: json}\n"
        "connections: [numbers -> shaky -> out, shaky -> counts -> counted, counts.late -> late]"
    )
    text = WORKFLOW.format(function="thirds", attempts=2, delay="3s", delay_max="30s", more=more)
    text = text.replace("format: json}\n  shaky", "format: json, by_clock: true, partitioned_by: string(k)}\n  shaky")
    topology = compiled(text, tmp_path, nodes=NODES)
    stages = [stage.id for stage in topology.stages]

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=1))
        for stage in stages:
            await bench.start(stage, 0)
        for n in range(40):
            if n % 3 == 0:
                await send(log, [(m % 4, m) for m in range(2 * n + 1, 2 * n + 7)])
            bench.now_ms += 1_300
            for stage in stages:
                await bench.work(stage, 0)
        for _ in range(30):
            bench.now_ms += 5_000
            for stage in stages:
                await bench.work(stage, 0)
        expected = {k: [n for n in range(1, 85) if n % 4 == k and n % 3] for k in range(4)}
        assert by_key(await values(log, "out")) == expected
        counted = sum(row["all"] for row in await values(log, "counted")) + len(await values(log, "late"))
        assert counted == sum(map(len, expected.values()))
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_what_is_given_up_stops_the_workflow_where_that_is_the_policy(tmp_path: Path) -> None:
    """Method: two tries, then the clock goes on; a new task stops at the same item, and nothing of it is committed."""
    text = WORKFLOW.format(function="thirds", attempts=2, delay="1s", delay_max="30s", more=PLAIN)
    topology = compiled(text.replace("    retry:", "    on_error: stop\n    retry:"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in range(1, 20)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        before = by_key(await values(log, "out"))
        assert {k: ns[-1] for k, ns in before.items()} == {0: 8, 1: 5, 2: 2}
        for _ in range(2):
            bench.now_ms += 5_000
            for _ in range(5):
                await bench.work("numbers", 0)
            halted = bench.tasks["numbers", 0].halted
            assert halted is not None
            assert "is a third" in halted.message
            assert by_key(await values(log, "out")) == before
            await bench.start("numbers", 0)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("seed", range(3))
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs; then a task without faults until nothing waits any more."""
    text = WORKFLOW.format(function="thirds", attempts=2, delay="5ms", delay_max="30s", more=PLAIN)
    topology = compiled(text, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await send(log, [(n % 4, n) for n in range(1, 120)])
        await persist(topology, FaultyLog(log, seeded_faults(seed, count=2 + seed, nth_max=60)), may_stop=True)
        expected = {k: [n for n in range(1, 120) if n % 4 == k and n % 3] for k in range(4)}
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(topology, log, executor)
            bench.now_ms = 2**42  # behind every wait
            await bench.start("numbers", 0)
            for _ in range(60):
                bench.now_ms += 60_000
                await bench.work("numbers", 0)
            await bench.close()
        assert by_key(await values(log, "out")) == expected
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", work))


def test_what_waits_can_be_seen(tmp_path: Path) -> None:
    text = WORKFLOW.format(function="thirds", attempts=3, delay="1h", delay_max="2h", more=PLAIN)
    (tmp_path / "workflow.yaml").write_text(text)

    async def fill(log: EmbeddedLog) -> None:
        await send(log, [(n % 4, n) for n in range(1, 10)])

    asyncio.run(with_log(tmp_path / "log", fill))
    workflow, log = str(tmp_path / "workflow.yaml"), str(tmp_path / "log")
    assert CliRunner().invoke(app, ["run", workflow, "--until-end", "--log", log]).exit_code == 0
    told = CliRunner().invoke(app, ["state", workflow, "shaky", "--log", log, "--json"])
    assert told.exit_code == 0, told.output
    waiting = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(w["key"], w["values"]["waits_behind"], w["values"]["@item"]) for w in waiting] == [
        ("1", 0, {"k": 1, "n": 9}), ("2", 0, {"k": 2, "n": 6}), ("3", 0, {"k": 3, "n": 3}), ("3", 1, {"k": 3, "n": 7}),
    ]  # fmt: skip


def test_what_was_given_up_can_be_redriven(tmp_path: Path) -> None:
    """Method: two tries, then redrive: the records of what was given up come once more, byte for byte."""
    text = WORKFLOW.format(function="thirds", attempts=2, delay="1s", delay_max="30s", more=PLAIN)
    text = text.replace("format: json}\n  shaky", "format: json, key: string(k) + string(k)}\n  shaky")
    (tmp_path / "workflow.yaml").write_text(text)
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(n % 4, n) for n in range(1, 10)])
        await bench.start("numbers", 0)
        for _ in range(5):
            await bench.work("numbers", 0)
            bench.now_ms += 2_000

    benched(tmp_path, topology, work)
    told = CliRunner().invoke(app, ["dlq", "redrive", str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log")])
    assert told.exit_code == 0, told.output
    found = asyncio.run(with_log(tmp_path / "log", lambda log: contents(log, "in")))[0]
    assert sorted(found[:9][n - 1][1:3] for n in (3, 6, 9)) == sorted(row[1:3] for row in found[9:])


def run(folder: Path, *options: str, crash_at: str = "") -> int:
    """Exit code of a run of the workflow in a process of its own."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "STREAMFLOW_CRASH_AT": crash_at, "PYTHONPATH": root}
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--log", "log", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=240, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_commit_step_loses_and_doubles_nothing_that_waits(point: str, tmp_path: Path) -> None:
    """Method: key 3 fails until a file is there. Killed while items are put aside, then while they come out again."""
    text = WORKFLOW.format(function="until_well", attempts=100, delay="50ms", delay_max="400ms", more=PLAIN)
    (tmp_path / "workflow.yaml").write_text(text)
    count = 800

    async def fill(log: EmbeddedLog) -> None:
        await send(log, [(n % 5, n) for n in range(count)])

    async def out(log: EmbeddedLog) -> dict[int, list[int]]:
        return by_key(await values(log, "out"))

    asyncio.run(with_log(tmp_path / "log", fill))
    assert run(tmp_path, "--until-end", crash_at=f"{point}:4") == -signal.SIGKILL
    assert run(tmp_path, "--until-end") == 0
    whole = {k: list(range(k, count, 5)) for k in range(5)}
    found = asyncio.run(with_log(tmp_path / "log", out))
    assert found == {k: ns for k, ns in whole.items() if k != 3}
    (tmp_path / "well").touch()
    assert run(tmp_path, "--duration", "20", crash_at=f"{point}:1") == -signal.SIGKILL
    run(tmp_path, "--duration", "3")
    assert asyncio.run(with_log(tmp_path / "log", out)) == whole
