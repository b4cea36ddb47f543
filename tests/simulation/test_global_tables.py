"""Global tables: each task has the whole table, whatever partitions it and the stream have.

Method: a table on three partitions and a stream on two, neither partitioned by what is looked up. What each item found
is compared with what the table held then; the ledger must tell of each record once, whoever read it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.sdk.crash import TABLE_POINTS
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from tests.simulation.auditing import audited, ledger
from tests.simulation.running import compiled, contents, run, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import Bench, benched

Change = tuple[str, Any]  # record key, value; None is a record without value, bytes are written as they are
CARRIER = """{"type": "record", "name": "Carrier", "fields": [
  {"name": "code", "type": "string"}, {"name": "name", "type": "string"}]}"""
ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "long"}, {"name": "carrier", "type": "string"}]}"""
WORKFLOW = """
workflow: whole
nodes:
  carriers: {{type: event, topic: carriers, schema: carrier.avsc, format: json, on_error: {on_error}}}
  by_code: {{type: table, key: code, scope: global}}
  orders: {{type: event, topic: orders, schema: order.avsc, format: json}}
  named: {{type: lookup, key: upper(carrier), fields: [name], join: left}}
  out: {{type: publish, topic: out, key: id, format: json}}
connections:
  - carriers -> by_code
  - carriers.gone -> by_code.gone
  - by_code -> named.table
  - orders -> named -> out
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}}}
"""
PLACES = 3  # partitions of the table


def whole(folder: Path, *, on_error: str = "dead_letter", step_bytes: int = 1 << 20) -> Topology:
    (folder / "carrier.avsc").write_text(CARRIER)
    (folder / "order.avsc").write_text(ORDER)
    return compiled(WORKFLOW.format(on_error=on_error, step_bytes=step_bytes), folder)


async def put(log: Log, topic: str, changes: Sequence[Change], *, partitions: int) -> None:
    """Records of a key in one partition, in batches of five."""
    if topic not in await log.topics():
        await log.create_topic(TopicSpec(name=topic, partitions=partitions))
    producer = await log.producer(f"put.{topic}")
    await producer.begin()
    for p in range(partitions):
        rows = [
            Record(0, i, key.encode(), v if v is None or isinstance(v, bytes) else json.dumps(v).encode(), [])
            for i, (key, v) in enumerate(changes)
            if sum(key.encode()) % partitions == p
        ]
        for at in range(0, len(rows), 5):
            await producer.append(TopicPartition(topic, p), [from_records(rows[at : at + 5])])
    await producer.commit()
    await producer.close()


def carriers(count: int, *, version: int = 0) -> list[Change]:
    return [(f"C{i}", {"code": f"C{i}", "name": f"carrier {i}.{version}"}) for i in range(count)]


def orders(count: int, *, first: int = 0, of: int = 20) -> list[Change]:
    return [(f"o{n}", {"id": n, "carrier": f"c{n % of}"}) for n in range(first, first + count)]


async def named(log: Log) -> dict[int, str | None]:
    """What each order found; fails where one is there twice."""
    found: dict[int, str | None] = {}
    for row in await values(log, "out"):
        assert row["id"] not in found
        found[row["id"]] = row["name"]
    return found


def rows_of(found: Mapping[int, list[Any]]) -> list[Any]:
    return [(p, row) for p, rows in found.items() for row in rows]


async def letters(log: Log) -> list[Any]:
    at, position = TopicPartition("whole.dead-letter", 0), 0
    found: list[Any] = []
    while batches := await log.read(at, position, size_bytes_max=1 << 20):
        found += decode_dead_letters(batches)
        position = batches[-1].last_offset + 1
    return found


@pytest.mark.parametrize("step_bytes", [1, 300, 1 << 20])
@pytest.mark.parametrize("state", ["memory", "rocksdb"])
def test_every_task_finds_every_row(step_bytes: int, state: str, log_folder: Path, tmp_path: Path) -> None:
    """Deletions and replaced rows among them; and again after a second start, with changes in between."""
    topology = whole(tmp_path, step_bytes=step_bytes)

    async def once(log: EmbeddedLog) -> None:
        plan = replace(topology, run=replace(topology.run, state=state))
        await put(log, "carriers", [*carriers(20), ("C3", None), *carriers(2, version=1)], partitions=PLACES)
        await put(log, "orders", orders(60), partitions=2)
        await run(plan, log, state_folder=str(tmp_path / "state"))
        held: dict[int, str | None] = {i: f"carrier {i}.{1 if i < 2 else 0}" for i in range(20)} | {3: None}
        assert await named(log) == {n: held[n % 20] for n in range(60)}
        await put(log, "carriers", [("C5", None), ("C3", carriers(4, version=2)[3][1])], partitions=PLACES)
        await put(log, "orders", orders(40, first=60), partitions=2)
        await run(plan, log, state_folder=str(tmp_path / "state"))
        now = held | {3: "carrier 3.2", 5: None}
        assert await named(log) == {n: (held if n < 60 else now)[n % 20] for n in range(100)}
        assert (await audited(log, plan)).findings == ()
        # The table's own records, each told of by one task.
        told = [s for entry in await ledger(log, plan) for s in entry.sources if s.at.topic == "carriers"]
        assert sum(s.records for s in told) == 25
        assert {(entry.partition, s.at.partition % 2) for entry in await ledger(log, plan) for s in entry.sources
                if s.at.topic == "carriers"} <= {(0, 0), (1, 1)}  # fmt: skip
        # Nothing of it is kept but on its own topic.
        assert not [name for name in await log.topics() if "by_code" in name or "changelog" in name]

    asyncio.run(with_log(log_folder, once))


def test_a_change_is_seen_by_what_comes_after_it(tmp_path: Path) -> None:
    """Method: two tasks driven by hand; changes and orders by turns; then the journal is followed in another log."""
    topology = whole(tmp_path)

    async def work(bench: Bench) -> None:
        log, expected = bench.log, {}
        await put(log, "carriers", carriers(4), partitions=PLACES)
        await put(log, "orders", [], partitions=2)
        for version in range(1, 8):
            if version in (1, 4):  # the second time: a take-over in the middle
                for p in range(2):
                    await bench.start("orders", p)
            await put(log, "orders", orders(8, first=version * 10, of=4), partitions=2)
            if version == 3:  # what was begun and not committed is begun again, with newer rows
                await bench.tasks["orders", 0].advance()
                await bench.start("orders", 0)
            for p in range(2):
                await bench.work("orders", p)
            expected |= {n: f"carrier {n % 4}.{version - 1}" for n in range(version * 10, version * 10 + 8)}
            assert await named(log) == expected
            await put(log, "carriers", carriers(4, version=version), partitions=PLACES)
            bench.now_ms += 10
            for p in range(2) if version % 2 else ():  # the others see it when they see orders
                await bench.work("orders", p)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        assert await follow(topology, log, again, nodes=registry()) > 10
        # Tasks write to the same partitions, one after the other here and as it came there.
        assert sorted(rows_of(await contents(again, "out"))) == sorted(rows_of(await contents(log, "out")))
        assert await letters(again) == await letters(log)
        assert (await audited(log, topology)).findings == ()
        await again.close()

    benched(tmp_path, topology, work)


def test_a_record_that_cannot_be_read_is_one_dead_letter(log_folder: Path, tmp_path: Path) -> None:
    topology = whole(tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await put(log, "carriers", [*carriers(3), ("C0", b"{"), ("C7", b"[]")], partitions=PLACES)
        await put(log, "orders", orders(6, of=3), partitions=2)
        for _ in range(3):
            await run(topology, log)
        found = await letters(log)
        assert sorted((letter.topic, letter.node, letter.value) for letter in found) == [
            ("carriers", "carriers", b"[]"),
            ("carriers", "carriers", b"{"),
        ]
        assert await named(log) == {n: f"carrier {n % 3}.0" for n in range(6)}
        await put(log, "carriers", [("C1", b"}")], partitions=PLACES)
        await run(topology, log)
        assert len(await letters(log)) == 3
        assert (await audited(log, topology)).findings == ()

    asyncio.run(with_log(log_folder, once))


def test_a_record_that_cannot_be_read_stops_the_workflow_where_it_says_so(log_folder: Path, tmp_path: Path) -> None:
    topology = whole(tmp_path, on_error="stop")

    async def once(log: EmbeddedLog) -> None:
        await put(log, "carriers", [*carriers(3), ("C0", b"{")], partitions=PLACES)
        await put(log, "orders", orders(6, of=3), partitions=2)
        for _ in range(2):
            report = await run(topology, log)
            assert report.halted is not None
            assert "record carriers/1 offset" in report.halted.message
        assert await letters(log) == []

    asyncio.run(with_log(log_folder, once))


@pytest.mark.parametrize("seed", range(4))
def test_any_fault_loses_and_doubles_nothing(seed: int, log_folder: Path, tmp_path: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs."""
    topology = whole(tmp_path, step_bytes=300)

    async def once(log: EmbeddedLog) -> None:
        await put(log, "carriers", [*carriers(20), ("C4", b"{"), ("C3", None)], partitions=PLACES)
        await put(log, "orders", orders(80), partitions=2)
        await persist(topology, FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=40)), may_stop=True)
        held = {i: f"carrier {i}.0" for i in range(20)} | {3: None}
        assert await named(log) == {n: held[n % 20] for n in range(80)}
        assert len(await letters(log)) == 1
        assert (await audited(log, topology)).findings == ()

    asyncio.run(with_log(log_folder, once))


def test_kills_while_a_table_is_read_and_while_what_was_read_is_committed(tmp_path: Path) -> None:
    """Method: a process that kills itself at a named point, one after the other; the last one runs to the end."""
    whole(tmp_path, step_bytes=300)
    (tmp_path / "workflow.yaml").write_text(WORKFLOW.format(on_error="dead_letter", step_bytes=300))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--until-end", "--log", "log"]

    async def fill(log: EmbeddedLog) -> None:
        await put(log, "carriers", [*carriers(20), ("C4", b"{"), ("C3", None)], partitions=PLACES)
        await put(log, "orders", orders(120), partitions=2)

    async def look(log: EmbeddedLog) -> None:
        held = {i: f"carrier {i}.0" for i in range(20)} | {3: None}
        assert await named(log) == {n: held[n % 20] for n in range(120)}
        assert len(await letters(log)) == 1
        assert (await audited(log, whole(tmp_path, step_bytes=300))).findings == ()

    asyncio.run(with_log(tmp_path / "log", fill))
    for point in (*(f"{p}:3" for p in TABLE_POINTS), "after-outputs:1", "torn-frame:7", "after-frame:6", ""):
        ended = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "STREAMFLOW_CRASH_AT": point}, capture_output=True, check=False
        )
        assert ended.returncode == (-signal.SIGKILL if point else 0), f"{point}\n{ended.stderr.decode()}"
    asyncio.run(with_log(tmp_path / "log", look))
