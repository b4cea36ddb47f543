"""An error workflow by policy: what nothing took and, where asked for, what a policy handled, each once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from streamflow.compiler import compile_document
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.runtime.cancels import ControlRecord, write_cancels
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.sdk.errors import StreamflowError
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.workflow.load import load_text
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

FAILING = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, on_error: continue}
  ended: {type: set, fields: {each: 12 // (n % 2)}, on_error: continue}
  taken: {type: set, fields: {each: 12 // (n % 3)}}
  instead: {type: set, fields: {each: 12 // (n % 5)}, on_error: {fallback: {value: {each: 0}}}}
  last: {type: set, fields: {each: 12 // (n % 7)}}
  out: {type: publish, topic: out, format: json}
  apart: {type: publish, topic: apart, format: json}
connections: [start -> ended -> taken -> instead -> last -> out, taken.error -> apart]
policies: {error_workflow: {file: watcher.yaml, also: [continue, error_port, pass]}}
"""
WATCHER = """
workflow: watcher
nodes:
  failed: {type: error-trigger, workflow: parts}
  handled: {type: error-trigger, workflow: parts, reads: handled}
  told: {type: set, keep: [node, code, offset], fields: {n: 'value'}}
  alerts: {type: publish, topic: alerts, format: json}
connections: [failed -> told, handled -> told -> alerts]
"""
SCHEMA = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}'


def expected(count: int) -> set[tuple[str, int]]:
    """(node, offset) of each error of items 0, 1, …; the last record is none."""
    found = {("start", count)}
    for n in range(count):
        for node, by in (("ended", 2), ("taken", 3), ("instead", 5), ("last", 7)):
            if n % by == 0:
                found.add((node, n))
                if node != "instead":
                    break
    return found


@pytest.mark.parametrize("seed", range(4))
def test_errors_that_are_handled_are_told_once_whatever_fails(seed: int, tmp_path: Path) -> None:
    """Method: items that fail all over, a record that is none, a log that fails (not for seed 0); then the watcher."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    failing, watcher = compiled(FAILING, tmp_path), compiled(WATCHER, tmp_path)
    count = 60

    async def work(log: EmbeddedLog) -> list[Any]:
        await send(log, "in", [*({"n": n} for n in range(count)), {"m": 1}])
        if seed:
            await persist(failing, FaultyLog(log, seeded_faults(seed, count=1 + seed, nth_max=30)), may_stop=True)
        await run(failing, log)
        await run(watcher, log)
        await run(watcher, log)
        report = await audited(log, failing)
        assert report.ok, report.text()
        letters = (await contents(log, "parts.dead-letter"))[0]
        assert len(letters) == len([1 for node, _ in expected(count) if node == "last"])
        return await values(log, "alerts")

    alerts = asyncio.run(with_log(tmp_path / "log", work))
    assert sorted((a["node"], a["offset"]) for a in alerts) == sorted(expected(count))
    assert {a["code"] for a in alerts if a["node"] != "start"} == {"division_by_zero"}


def test_a_replay_tells_the_same(tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(FAILING, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, "in", [{"n": n} for n in range(30)])
        await bench.start("start", 0)
        await bench.work("start", 0)
        await replays(topology, bench.log, tmp_path)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        assert await contents(again, "parts.errors") == await contents(bench.log, "parts.errors")
        await again.close()

    benched(tmp_path, topology, work)


@pytest.mark.parametrize(
    ("named", "watcher", "said"),
    [
        ("nowhere.yaml", None, "there is no file 'nowhere.yaml'"),
        ("../watcher.yaml", None, "does not stand in the folder"),
        ("/etc/watcher.yaml", None, "does not stand in the folder"),
        ("link/watcher.yaml", None, "leads out of the folder"),
        ("watcher", WATCHER, ""),
        ("watcher.yaml", WATCHER, ""),
        ("watcher.yaml", WATCHER.replace("workflow: parts", "workflow: other"), "has no trigger for this one"),
        ("watcher.yaml", WATCHER.replace(", reads: handled", ""), "nothing in 'watcher.yaml' reads the errors"),
        ("watcher.yaml", "nodes: 3", "cannot be read"),
    ],
)
def test_the_error_workflow_must_hear_of_the_errors(named: str, watcher: str | None, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    (folder / "link").symlink_to(tmp_path)
    (folder / "n.avsc").write_text(SCHEMA)
    if watcher is not None:
        (folder / "watcher.yaml").write_text(watcher)
    document, _ = load_text(FAILING.replace("watcher.yaml", named), base_folder=str(folder))
    assert document is not None
    topology, findings = compile_document(document, registry())
    errors = [f for f in findings if f.severity == "error"]
    assert [f.code for f in errors] == (["SF262"] if said else [])
    assert all(said in f.message and f.mend and f.place.line == 12 for f in errors), [str(f) for f in errors]
    assert (topology is None) == bool(said)


ENDS = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  pause: {type: wait, for: 10s}
  out: {type: publish, topic: out, format: json}
connections: [start -> pause -> out]
policies:
  executions: all
  timeout: 8s
  commit_interval: 1ms
  error_workflow: {file: watcher.yaml, also: [cancelled, timed_out]}
"""
BREAKS = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc}
  shaky:
    type: set
    fields: {each: 12 // n}
    on_error: {fallback: {value: {each: 0}}, breaker: {failures: 2, within: 10s, probe_after: 5s}}
  out: {type: publish, topic: out, format: json}
connections: [start -> shaky -> out]
policies: {commit_interval: 1ms, error_workflow: {file: watcher.yaml, also: [breaker]}}
"""


async def told(log: Log) -> list[tuple[str, str, int]]:
    """(code, node, where its execution began) of each record on the topic of errors."""
    at = TopicPartition("parts.errors", 0)
    start, end = await log.offsets(at)
    batches = await log.read(at, start, size_bytes_max=1 << 20) if start < end else []
    # What a node held has no record, but an execution.
    return [
        (one.code, one.node, one.offset if one.offset >= 0 else int((one.execution or "").rpartition(":")[2]))
        for one in decode_dead_letters(batches)
    ]


def test_executions_that_are_cancelled_or_have_had_their_time_are_told(tmp_path: Path) -> None:
    """Method: four items wait; one is cancelled, the others have less time than they wait. Then a replay."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(ENDS, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, "in", [{"n": n} for n in range(4)])
        await bench.start("start", 0)
        await bench.work("start", 0)
        of = (await log.topics())["in"].incarnation
        producer = await log.producer("cancel")
        await write_cancels(log, producer, topology, [ControlRecord(execution=f"in#{of}/0:2")], now_ms=bench.now_ms)
        await producer.close()
        bench.now_ms += 1_000
        await bench.work("start", 0)
        assert await told(log) == [("cancelled", "pause", 2)]
        bench.now_ms += 60_000
        await bench.start("start", 0)
        await bench.work("start", 0)
        over = [("execution_timed_out", "pause", n) for n in (0, 1, 3)]
        assert await told(log) == [("cancelled", "pause", 2), *over]
        assert await values(log, "out") == []
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_a_circuit_that_opens_and_closes_is_told(tmp_path: Path) -> None:
    """Method: two failures open it; a probe that fails opens it again, one that does not closes it. Then a replay."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(BREAKS, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await bench.log.create_topic(TopicSpec(name="in", partitions=1))
        await bench.start("start", 0)
        for numbers in ((1, 0, 0, 1), (0, 1), (1, 1)):
            await send(log, "in", [{"n": n} for n in numbers])
            await bench.work("start", 0)
            bench.now_ms += 6_000
        opened, closed = "circuit_opened", "circuit_closed"
        assert await told(log) == [(opened, "shaky", 2), (opened, "shaky", 4), (closed, "shaky", 6)]
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize(
    ("policies", "said"),
    [("also: [timed_out]", "there is no `timeout`"), ("also: [cancelled]", "executions leave no records")],
)
def test_what_never_comes_is_an_error(policies: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    document, _ = load_text(BREAKS.replace("also: [breaker]", policies), base_folder=str(tmp_path))
    assert document is not None
    topology, findings = compile_document(document, registry())
    assert topology is None
    assert any(said in str(f) and f.code == "SF262" for f in findings)


STOPS = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc}
  shaky: {type: set, fields: {each: 12 // n}, on_error: stop}
  out: {type: publish, topic: out, format: json}
connections: [start -> shaky -> out]
policies: {commit_interval: 1ms, error_workflow: {file: watcher.yaml, also: [stop]}}
"""


def test_a_halt_is_told_each_time_with_its_place(tmp_path: Path) -> None:
    """Method: the third item stops the task; started again it stops there again, and tells again."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(STOPS, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, "in", [{"n": n} for n in (1, 2, 0, 3)])
        for count in (1, 2):
            await bench.start("start", 0)
            await bench.work("start", 0)
            assert bench.tasks["start", 0].halted is not None
            assert await told(log) == [("workflow_stopped", "shaky", 2)] * count
        at = TopicPartition("parts.errors", 0)
        (one, _) = decode_dead_letters(await log.read(at, 0, size_bytes_max=1 << 20))
        assert one.message.startswith("division_by_zero: fields.each")
        assert one.value == b'{"n": 0}'
        assert [item["n"] for item in await values(log, "out")] == [1, 2]
        report = await audited(log, topology)
        assert report.ok, report.text()

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("seed", range(4))
def test_a_halt_is_told_at_least_once_whatever_fails(seed: int, tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(STOPS, tmp_path, nodes=NODES)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in (1, 2, 0, 3)])
        for _ in range(3):
            faulty = FaultyLog(log, seeded_faults(seed, count=2, nth_max=6))
            with contextlib.suppress(StreamflowError):
                await run(topology, faulty)
        with contextlib.suppress(StreamflowError):
            await run(topology, log)
        assert set(await told(log)) == {("workflow_stopped", "shaky", 2)}
        assert [item["n"] for item in await values(log, "out")] == [1, 2]

    asyncio.run(with_log(tmp_path / "log", work))
