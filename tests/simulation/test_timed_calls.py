"""Nodes with a time-out: functions that really hang, through steps, retries, restarts, SIGKILL and replays."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.runtime.journal import JournalRecord
from streamflow.sdk.crash import POINTS
from streamflow.sdk.log import Log
from tests.simulation import hanging
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, values, with_log
from tests.simulation.running import send as send_all
from tests.simulation.test_parked import run, send
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

WORKFLOW = """\
workflow: timely
nodes:
  numbers: {{type: event, topic: in, format: json{schema}}}
  slow: {{type: function, function: "tests.simulation.hanging:{function}", timeout: {timeout}{more}}}
  out: {{type: publish, topic: out, format: json}}
connections: [numbers -> slow -> out]
policies: {{commit_interval: 1ms, step_bytes_max: 300, executions: all}}
"""
N = json.dumps({"type": "record", "name": "N", "fields": [{"name": f, "type": "long"} for f in ("k", "n")]})
NAME = N.replace('"n"', '"name"').replace('"N"', '"Name"')


def workflow(function: str = "hangs", timeout: str = "250ms", more: str = "", schema: str = "") -> str:
    return WORKFLOW.format(function=function, timeout=timeout, more=more, schema=schema)


BESIDE = """\
workflow: timely
nodes:
  names: {type: event, topic: names, schema: name.avsc, format: json}
  by_key: {type: table, key: string(k), scope: global}
  numbers: {type: event, topic: in, schema: n.avsc, format: json}
  named: {type: lookup, key: string(k), fields: [name], join: left}
  slow: {type: function, function: "tests.simulation.hanging:hangs", timeout: 250ms}
  out: {type: publish, topic: out, format: json}
connections:
  - names -> by_key -> named.table
  - numbers -> named -> slow -> out
policies: {commit_interval: 1ms, executions: all}
"""


async def numbers(log: Log) -> list[int]:
    return [item["n"] for item in await values(log, "out")]


async def letters(log: Log) -> list[tuple[str, int]]:
    """(code, tries) of each dead letter."""
    at = TopicPartition("timely.dead-letter", 0)
    start, end = await log.offsets(at)
    batches = await log.read(at, start, size_bytes_max=1 << 20) if start < end else []
    return [(letter.code, letter.attempt) for letter in decode_dead_letters(batches)]


async def journal(log: Log) -> list[JournalRecord]:
    found = (await contents(log, "timely.numbers.journal"))[0]
    return [JournalRecord.decode(value) for _, _, value, _ in found]


def test_what_was_late_is_told_of_its_own_step(tmp_path: Path) -> None:
    """Method: a task reads of a table what another counts; that is told before the next step, in which a call hangs."""
    (tmp_path / "n.avsc").write_text(N)
    (tmp_path / "name.avsc").write_text(NAME)
    topology = compiled(BESIDE, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        for name, first in (("names", 0), ("in", 0), ("names", 10), ("in", 10)):
            items = [{"k": n % 4, "n": n, "name": n} for n in range(first + 1, first + 11)]  # task 0 hangs
            await send_all(log, name, items, partitions=2)
            bench.now_ms += 1_000  # it is time to look into the table
            for p in (0, 1):
                if (name, first) == ("in", 0):
                    await bench.start("numbers", p)
                if name == "in":
                    await bench.work("numbers", p)
        found = [await contents(log, "timely.numbers.journal")]
        steps = [step for rows in found[0].values() for row in rows for step in JournalRecord.decode(row[2]).steps]
        late = [step for step in steps if step.late]
        assert len(late) == 2
        assert {step.at.topic for step in late} == {"in"}
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_items_that_hang_fail_and_a_replay_gives_the_same(tmp_path: Path) -> None:
    """Method: three of thirty items hang for ever; a task runs, another takes over; then a replay, which must not
    call for those.
    """
    topology = compiled(workflow(), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in range(20)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        await bench.start("numbers", 0)
        await send(log, [(n % 4, n) for n in range(20, 30)])
        await bench.work("numbers", 0)
        assert await numbers(log) == [n for n in range(30) if n % 10 != 3]
        assert await letters(log) == [("timed_out", 1)] * 3
        late = [run for record in await journal(log) for step in record.steps for run in step.late]
        assert [(run.node, run.count, run.made) for run in late] == [("slow", 1, True)] * 3
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_nothing_of_a_late_call_reaches_the_stream_and_threads_are_bounded(tmp_path: Path) -> None:
    """Method: twelve calls wait until they are released, of which eight are made. They return as it goes on."""
    hanging.RELEASE.clear()
    hanging.CALLS.clear()
    topology = compiled(workflow("until_released"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in (1, 2, *range(100, 112), 3)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        assert await numbers(log) == [1, 2]
        assert await letters(log) == [("timed_out", 1)] * 8 + [("calls_held", 1)] * 5
        assert [1, 2, *range(100, 108)] == hanging.CALLS
        hanging.RELEASE.set()
        await asyncio.sleep(0.1)
        await send(log, [(0, 4), (0, 200), (0, 5)])
        await bench.work("numbers", 0)
        assert await numbers(log) == [1, 2, 4, 200, 5], "what was late stays out"
        report = await audited(log, topology)
        assert report.ok, report.text()
        called = list(hanging.CALLS)
        await replays(topology, log, tmp_path)
        assert [*called, 1, 2, 4, 200, 5] == hanging.CALLS, "a replay makes no call that was late"

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("mode", ["block", "park", "delay"])
def test_retries_apply_and_are_replayed(mode: str, tmp_path: Path) -> None:
    retry = f", retry: {{mode: {mode}, attempts: 2, delay: 1ms, codes: [timed_out]}}"
    topology = compiled(workflow(more=retry), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n, n) for n in range(30)])
        await bench.start("numbers", 0)
        for _ in range(6):
            await bench.work("numbers", 0)
            bench.now_ms += 1_000
        assert sorted(await numbers(log)) == [n for n in range(30) if n % 10 != 3]
        assert await letters(log) == [("timed_out", 2)] * 3
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [
        ("continue", [0, 1, 2, 4]),
        ("pass", [0, 1, 2, 3, 4]),
        ("{fallback: {value: {n: -1}}}", [0, 1, 2, -1, 4]),
    ],
)
def test_policies_apply(on_error: str, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(N)
    text = workflow(more=f", schema: n.avsc, on_error: {on_error}", schema=", schema: n.avsc")
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(n, n) for n in range(5)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        assert await numbers(bench.log) == expected
        await replays(topology, bench.log, tmp_path)

    benched(tmp_path, topology, work)


def test_a_frame_that_hangs_fails_whole_and_is_not_halved(tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(N)
    more = ", mode: frame, schema: n.avsc"
    topology = compiled(workflow("frame_hangs", more=more, schema=", schema: n.avsc"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n, n) for n in range(20)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        found = await numbers(log)
        late = [run for record in await journal(log) for step in record.steps for run in step.late]
        assert sum(run.count for run in late) == 2, "one call for each frame that hangs"
        assert len(found) + len(await letters(log)) == 20
        assert not {3, 13} & set(found)
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_stop_halts_at_the_item_that_hangs(tmp_path: Path) -> None:
    topology = compiled(workflow(more=", on_error: stop"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(n, n) for n in range(30)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        halted = bench.tasks["numbers", 0].halted
        assert halted is not None
        assert "not over within 250 ms" in halted.message
        assert await numbers(bench.log) == [0, 1, 2]
        await replays(topology, bench.log, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_commit_step_loses_and_doubles_nothing(point: str, tmp_path: Path) -> None:
    """Method: killed in the fourth commit, with calls that hang; then a run to the end, which ends though they do."""
    text = workflow(more=", retry: {mode: park, attempts: 2, delay: 1ms}")
    (tmp_path / "workflow.yaml").write_text(text)
    topology = compiled(text, tmp_path)

    async def fill(log: EmbeddedLog) -> None:
        await send(log, [(n % 5, n) for n in range(60)])

    asyncio.run(with_log(tmp_path / "log", fill))
    assert run(tmp_path, "--until-end", crash_at=f"{point}:4") == -signal.SIGKILL
    for _ in range(20):  # what is put aside is not waited for
        assert run(tmp_path, "--duration", "2") == 0
        ended = [asyncio.run(with_log(tmp_path / "log", told)) for told in (letters, numbers)]
        if sum(map(len, ended)) == 60:
            break

    async def check(log: EmbeddedLog) -> None:
        assert sorted(await numbers(log)) == [n for n in range(60) if n % 10 != 3], "others of the key wait"
        assert await letters(log) == [("timed_out", 2)] * 6
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    asyncio.run(with_log(tmp_path / "log", check))
