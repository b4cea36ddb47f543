"""Slots on a log: never more executions at once than there are, none lost, none begun twice, whatever restarts between.

Method: tasks on a clock that the test sets, or whole runs with faults by seed. What was under way is read from the
history by a checker that does not know how slots are kept; then the whole is replayed from its journals.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.runtime.topics import TopicMismatch, ensure_topics
from streamflow.sdk.errors import Fenced, LogFull
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from streamflow.workers.embedded import EmbeddedWorker
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, run, send, values, with_log
from tests.simulation.slots_checker import under_way
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, replays, send_at

GATED = """
workflow: gated
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  gate: {type: slots, executions: 2, priority: n % 3, queue_max: QUEUE, partitions: 2}
  work: {type: wait, for: 1000 + 100 * (n % 10)}
  again: {type: wait, for: 500ms}
  fine: {type: filter, when: 100 // (n - 4) != 0}
  out: {type: publish, topic: out, format: json}
connections: [start -> gate -> work -> again -> fine -> out]
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2, executions: all}
"""
BEHIND = "gated.gate.go.repartition"


async def work_all(bench: Bench, *, restart: bool = False) -> None:
    """All stages in turn, until none has anything to do."""
    before = -1
    while (now := sum(task.metrics.commits for task in bench.tasks.values())) != before:
        before = now
        for stage in bench.topology.stages:
            for p in range(1 if stage.id == "gate.queue" else 2):
                if restart or (stage.id, p) not in bench.tasks:
                    await bench.start(stage.id, p)
                await bench.work(stage.id, p)


@pytest.mark.parametrize("restart", [False, True])
def test_two_at_once_in_order_of_priority(restart: bool, tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(GATED.replace("QUEUE", "100"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))
        await send_at(log, "in", 0, [(n, n) for n in range(0, 9)])

        async def at(now_ms: int) -> list[int]:
            bench.now_ms = now_ms
            await work_all(bench)
            if restart and now_ms % 500 == 0:
                for stage, p in list(bench.tasks):
                    await bench.start(stage, p)
            return [row["n"] for row in await values(log, "out")]

        assert await at(1_000) == []  # 0 and 1 have slots
        assert await at(1_999) == []
        for ms in range(2_000, 11_000, 100):
            await at(ms)
        seen = await under_way(log, "gated.executions", BEHIND)
        assert seen.most == 2
        assert not seen.open
        begun = [int(one.rpartition(":")[2]) for one in seen.begun]
        assert begun == [0, 1, 2, 5, 8, 4, 7, 3, 6]  # n % 3, then as they came; 4 fails at its end
        assert sorted(await at(14_000)) == [0, 1, 2, 3, 5, 6, 7, 8]
        assert bench.tasks["gate.queue", 0].stage.stores
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_a_full_queue_takes_no_more_in(tmp_path: Path) -> None:
    """What does not fit stays on the topic before; nothing is lost, and the queue never holds more."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(GATED.replace("QUEUE", "5"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))
        await send_at(log, "in", 0, [(n, n) for n in range(10, 40)], batch=7)
        most = 0
        for ms in range(1_000, 45_000, 500):
            bench.now_ms = ms
            await work_all(bench)
            store = bench.tasks["gate.queue", 0]._program.stores["gate", "slots"]
            most = max(most, sum(name.startswith(b"q") for name, _ in store.scan()))
        assert most == 5
        assert sorted(row["n"] for row in await values(log, "out")) == list(range(10, 40))
        seen = await under_way(log, "gated.executions", BEHIND)
        assert (seen.most, len(seen.begun), seen.open) == (2, 30, set())
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_a_run_ends_while_executions_with_slots_wait(tmp_path: Path) -> None:
    """Also when the queue is full, so that not everything was read; the next run goes on."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    text = GATED.replace("QUEUE", "2").replace("1000 + 100 * (n % 10)", "24h")
    topology = compiled(text, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(20)], partitions=2)
        for _ in range(2):
            await asyncio.wait_for(run(topology, log), 30)
            seen = await under_way(log, "gated.executions", BEHIND)
            assert (seen.most, len(seen.open)) == (2, 2)

    asyncio.run(with_log(tmp_path / "log", once))


QUICK = """
workflow: gated
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  gate: {type: slots, executions: SLOTS, per: n % 2, share: 2, priority: n % 3, aging: 5ms, queue_max: QUEUE}
  twice: {type: set, fields: {both: '[n, n + 1000]'}}
  apart: {type: split, field: both, keep: true}
  keyed: {type: repartition, key: string(both), partition_count: 3}
  moment: {type: wait, for: both % 3}
  fine: {type: filter, when: 100 // (both % 10) > 11}
  out: {type: publish, topic: out, format: json}
connections: [start -> gate -> twice -> apart -> keyed -> moment -> fine -> out]
policies: {commit_interval: 1ms, step_bytes_max: 300, executions: all}
"""


async def persist(topology: Topology, log: Log) -> None:
    """Run until a run comes to its end; each fault that stops a run is a restart of all tasks."""
    for _ in range(12):
        try:
            await asyncio.wait_for(EmbeddedWorker(topology, log, nodes=NODES, until_end=True, threads=2).run(), 60)
        except (Fenced, LogFull):
            continue
        return
    raise AssertionError("no end")


@pytest.mark.parametrize("seed", range(16))
def test_slots_hold_whatever_faults_and_restarts(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    slots = choose.choice([1, 2, 3, 8])
    text = QUICK.replace("SLOTS", str(slots)).replace("QUEUE", str(choose.choice([1, 3, 100])))
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(text, tmp_path, nodes=NODES)
    count = choose.randint(3, 16)

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(count)], partitions=2, batch=choose.choice([1, 10]))
        log = FaultyLog(inner, seeded_faults(seed, count=choose.randint(0, 5), nth_max=60))
        for _ in range(6):  # what waits a moment goes on in the next run
            await persist(topology, log)
            if not (seen := await under_way(inner, "gated.executions", BEHIND)).open and len(seen.begun) == count:
                break
        assert seen.most <= min(slots, 4)
        assert len(seen.begun) == count, "an execution never got a slot"
        assert not seen.open, "a slot leaked"
        both = [b for n in range(count) for b in (n, n + 1000)]
        wanted = sorted(b for b in both if b % 10 and 100 // (b % 10) > 11)
        assert sorted(row["both"] for row in await values(inner, "out")) == wanted
        held = await values_of_slots(inner)
        assert held == 0
        report = await audited(inner, topology)
        assert report.ok, report.text()
        await replays(topology, inner, tmp_path)

    asyncio.run(with_log(tmp_path / "log", once))


async def values_of_slots(log: Log) -> int:
    """Entries of the store of slots that are left, but for its counts."""
    from streamflow.model.positions import TopicPartition
    from streamflow.state.memory import MemoryStore
    from streamflow.state.restore import restore

    store = MemoryStore()
    await restore(store, log, TopicPartition("gated.gate.slots.changelog", 0))
    return sum(name != b"#" for name, _ in store.scan())


def test_a_rate_holds_over_restarts(tmp_path: Path) -> None:
    """Four at once, then one every 100 ms; a restart gives nobody a second turn."""
    text = GATED.replace("executions: 2, priority: n % 3, queue_max: QUEUE", "rate: {executions: 10, burst: 4}")
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(text.replace(", executions: all", ""), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))
        await send_at(log, "in", 0, [(n, n) for n in range(10, 30)])

        async def begun(now_ms: int) -> int:
            bench.now_ms = now_ms
            await work_all(bench, restart=False)
            for stage, p in list(bench.tasks):
                await bench.start(stage, p)
            return await sent(log)

        assert await begun(5_000) == 4
        assert await begun(5_099) == 4
        assert await begun(5_100) == 5
        assert await begun(5_399) == 7
        assert await begun(5_400) == 8
        assert await begun(6_600) == 12  # what nobody made use of in time is over
        assert [await begun(6_600 + ms) for ms in range(100, 900, 100)] == list(range(13, 21))
        await send_at(log, "in", 0, [(n, n) for n in range(40, 60)])
        assert await begun(9_000) == 24
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


async def sent(log: Log) -> int:
    from tests.simulation.running import contents

    return sum(not headers for rows in (await contents(log, BEHIND)).values() for _, _, _, headers in rows)


def test_a_topic_of_executions_with_several_partitions_is_refused(tmp_path: Path) -> None:
    """One that was there before the workflow had slots: a task would hear of some executions only."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(GATED.replace("QUEUE", "5"), tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="gated.executions", partitions=2))
        with pytest.raises(TopicMismatch, match="executions"):
            await ensure_topics(topology, log)

    asyncio.run(with_log(tmp_path / "log", once))
