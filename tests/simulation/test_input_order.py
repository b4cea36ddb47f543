"""Rows of several inputs are taken in the order of their event times, so that a replay from the start asks what
the live run asked.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics
from streamflow.sdk.log import TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from streamflow.workers.scheduler import Limits
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, values, with_log
from tests.simulation.test_faults import persist

SCHEMA = {
    "type": "record",
    "name": "Said",
    "fields": [{"name": "k", "type": "string"}, {"name": "t", "type": "long"}, {"name": "v", "type": "long"}],
}
WHERE_THEY_LIE = """
workflow: asked
nodes:
  names: {{type: event, topic: names, format: json, schema: said.avsc, time: t, partitioned_by: k, partitioner: p}}
  asks: {{type: event, topic: asks, format: json, schema: said.avsc, time: t, partitioned_by: k, partitioner: p}}
  found: {{type: lookup, key: k, prefix: is_, join: left}}
  out: {{type: publish, topic: out, format: json}}
connections: [asks -> found -> out, names -> found.table]
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 2}}
"""
SPREAD_ANEW = WHERE_THEY_LIE.replace(", partitioned_by: k, partitioner: p", "")
Rows = Sequence[tuple[str, dict[str, Any]]]  # (topic, item), by time


def rows_of(seed: int, count: int = 120) -> Rows:
    """Two topics, each in order, all times different; now one of them is busy, now the other."""
    rng, rows = random.Random(seed), []
    busy = 0.5
    for n in range(count):
        busy = rng.random() if n % 15 == 0 else busy
        topic = "asks" if rng.random() < busy else "names"
        rows.append((topic, {"k": f"k{rng.randrange(4)}", "t": 1_000 + 10 * n, "v": n}))
    return rows


def expected(rows: Rows) -> list[tuple[str, int, int | None]]:
    """(key, what asked, what was there by then)."""
    known: dict[str, int] = {}
    found = []
    for topic, item in rows:
        if topic == "names":
            known[item["k"]] = item["v"]
        else:
            found.append((item["k"], item["v"], known.get(item["k"])))
    return sorted(found)


async def topics(log: EmbeddedLog, partitions: int = 2) -> None:
    for topic in ("names", "asks"):
        await log.create_topic(TopicSpec(name=topic, partitions=partitions))


async def write(log: EmbeddedLog, rows: Rows, *, batch: int, partitions: int = 2) -> None:
    """Items on the partitions of their keys, `batch` to a record batch."""
    for topic in ("names", "asks"):
        producer = await log.producer(f"write.{topic}")
        await producer.begin()
        for p in range(partitions):
            mine = [item for where, item in rows if where == topic and int(item["k"][1:]) % partitions == p]
            for at in range(0, len(mine), batch):
                records = [Record(0, 0, None, json.dumps(item).encode(), []) for item in mine[at : at + batch]]
                await producer.append(TopicPartition(topic, p), [from_records(records)])
        await producer.commit()
        await producer.close()


def read(items: Sequence[dict[str, Any]]) -> list[tuple[str, int, int | None]]:
    return sorted((item["k"], item["v"], item["is_v"]) for item in items)


def topology_of(folder: Path, text: str, step_bytes: int) -> Topology:
    folder.mkdir(exist_ok=True)
    (folder / "said.avsc").write_text(json.dumps(SCHEMA))
    return compiled(text.format(step_bytes=step_bytes), folder)


class Live:
    """Tasks of a one-stage topology, driven by hand."""

    def __init__(self, topology: Topology, log: EmbeddedLog, executor: ThreadPoolExecutor) -> None:
        self.topology, self.log, self.executor, self.now_ms = topology, log, executor, 1_000
        self.tasks: list[Task] = []

    async def start(self, stage_id: str, tasks: int = 2) -> None:
        found = await ensure_topics(self.topology, self.log)
        stage = self.topology.stage(stage_id)
        for p in range(tasks):
            program = TaskProgram(self.topology, stage, partition=p, tasks=tasks, topics=found, nodes=registry())
            task = Task(self.topology, program, self.log, self.executor, clock_ms=lambda: self.now_ms)
            await task.start()
            self.tasks.append(task)

    async def work(self) -> None:
        for task in self.tasks:
            while await task.advance():
                pass
            await task.settle()


async def live_run(topology: Topology, log: EmbeddedLog, rows: Rows, seed: int) -> None:
    """Items come as time goes on; now and then the tasks do what is there."""
    rng, at = random.Random(seed), 0
    await topics(log)
    with ThreadPoolExecutor(1) as executor:
        live = Live(topology, log, executor)
        await live.start(topology.stages[0].id)
        while at < len(rows):
            count = rng.randint(1, 9)
            await write(log, rows[at : at + count], batch=rng.choice([1, 3]))
            at += count
            await live.work()
        for task in live.tasks:
            await task.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_replay_from_the_start_gives_the_rows_of_the_live_run(seed: int, tmp_path: Path) -> None:
    rows = rows_of(seed)

    async def first(log: EmbeddedLog) -> dict[int, list[tuple[Any, ...]]]:
        await live_run(topology_of(tmp_path / "w", WHERE_THEY_LIE, 300), log, rows, seed)
        assert read(await values(log, "out")) == expected(rows)
        return await contents(log, "out")

    live = asyncio.run(with_log(tmp_path / "live", first))
    for number, step_bytes in enumerate([1, 300, 1 << 20]):
        topology = topology_of(tmp_path / "w", WHERE_THEY_LIE, step_bytes)

        async def again(log: EmbeddedLog, topology: Topology = topology) -> None:
            await topics(log)
            await write(log, rows, batch=[1, 100][seed % 2])
            await run(topology, log)
            assert await contents(log, "out") == live, "to the byte, in the order of each partition"
            report = await audited(log, topology)
            assert report.ok, report.text()

        asyncio.run(with_log(tmp_path / f"again{number}", again))


@pytest.mark.parametrize("seed", range(12))
def test_behind_a_repartition_too_whatever_fails(seed: int, tmp_path: Path) -> None:
    """The stage behind waits for tasks that have more to read; so also where one side is far ahead of the other.

    Each topic has one partition, as rows of several come out of a repartition in the order in which they were written.
    """
    rng, rows = random.Random(seed), rows_of(seed)
    topology = topology_of(tmp_path / "w", SPREAD_ANEW, rng.choice([1, 300, 3_000, 1 << 20]))

    async def once(inner: EmbeddedLog) -> None:
        await topics(inner, 1)
        await write(inner, rows, batch=rng.choice([1, 7, 100]), partitions=1)
        log = FaultyLog(inner, seeded_faults(seed, count=rng.randint(0, 3), nth_max=20))
        await persist(topology, log, may_stop=True)
        assert read(await values(inner, "out")) == expected(rows)
        report = await audited(inner, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


def test_the_journal_gives_steps_of_several_inputs_again(tmp_path: Path) -> None:
    rows, topology = rows_of(3), topology_of(tmp_path / "w", WHERE_THEY_LIE, 300)

    async def once(log: EmbeddedLog) -> None:
        await live_run(topology, log, rows, 3)
        target = EmbeddedLog(tmp_path / "again")
        await target.open()
        assert await follow(topology, log, target, nodes=registry()) > 0
        assert await contents(target, "out") == await contents(log, "out")
        await target.close()

    asyncio.run(with_log(tmp_path / "log", once))


@pytest.mark.parametrize("executions", [1, 2, 40])
def test_so_many_executions_as_one_input_would_use_up_are_shared_by_both(executions: int, tmp_path: Path) -> None:
    """Method: each read brings more of either input than may be under way; none of them may keep the other waiting."""
    rows, topology = rows_of(3, 200), topology_of(tmp_path / "w", WHERE_THEY_LIE, 1 << 20)

    async def once(log: EmbeddedLog) -> None:
        await topics(log)
        await write(log, rows, batch=100)
        async with asyncio.timeout(60):
            await run(topology, log, limits=Limits(threads=2, held_executions_max=executions))
        assert read(await values(log, "out")) == expected(rows)
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


def test_nobody_waits_for_ever_for_a_task_that_is_gone(tmp_path: Path) -> None:
    """Method: the task that reads `names` has said that there is more, and does not come again."""
    text = SPREAD_ANEW.replace("step_bytes_max", "input_wait: 5s, step_bytes_max")
    topology = topology_of(tmp_path / "w", text, 1)
    by_topic = {i.topic: stage.id for stage in topology.stages for i in stage.inputs}
    (last,) = (stage.id for stage in topology.stages if len(stage.inputs) == 2)

    async def once(log: EmbeddedLog) -> None:
        await topics(log, 1)
        names = [("names", {"k": "k0", "t": 1_000 + n, "v": n}) for n in range(4)]
        await write(log, [*names, ("asks", {"k": "k0", "t": 5_000, "v": 7})], batch=1, partitions=1)
        with ThreadPoolExecutor(1) as executor:
            live = Live(topology, log, executor)
            await live.start(by_topic["names"], 1)
            for task in live.tasks:  # one row, and commit
                await task.advance()
                await task.settle()
            live.tasks.clear()
            await live.start(by_topic["asks"], 1)
            await live.work()
            live.tasks.clear()
            await live.start(last, 1)
            await live.work()
            assert await values(log, "out") == []
            live.now_ms += 4_999
            await live.work()
            assert await values(log, "out") == []
            live.now_ms += 1
            await live.work()
            assert read(await values(log, "out")) == [("k0", 7, 0)]
            for task in live.tasks:
                await task.close()

    asyncio.run(with_log(tmp_path / "log", once))
