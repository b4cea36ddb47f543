"""Executions that are cancelled: their rows end where they are, and the others never notice.

Method: tasks driven by hand on a clock that the test sets; then the whole is replayed from its journals.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.model.positions import TopicPartition
from streamflow.replay.follow import journal
from streamflow.runtime.cancels import ControlRecord, write_cancels
from streamflow.runtime.signals import Signal, signals_topic, write_signals
from streamflow.sdk.log import Log, TopicSpec
from tests.simulation.auditing import audited
from tests.simulation.histories import agree_with_ledger, records_of, stand
from tests.simulation.running import compiled, values
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, replays, send_at

STAGES = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  pause: {type: wait, for: 10s}
  move: {type: repartition, key: string(n % 3)}
  longer: {type: wait, for: 10s}
  out: {type: publish, topic: out, format: json}
connections: [start -> pause -> move -> longer -> out]
policies: {executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


class Ground:
    """A workflow all of whose tasks are worked in turn."""

    def __init__(self, bench: Bench, *, restart: bool = False) -> None:
        self.bench, self.log, self.restart = bench, bench.log, restart

    async def begin(self) -> None:
        await self.log.create_topic(TopicSpec(name="in", partitions=2))

    async def items(self, *numbers: int) -> None:
        for p in range(2):
            await send_at(self.log, "in", p, [(n, n) for n in numbers if n % 2 == p], batch=3)

    async def ids(self) -> dict[int, str]:
        """Executions by the number of their item, where numbers go up from 0 in turn."""
        of = (await self.log.topics())["in"].incarnation
        return {n: f"in#{of}/{n % 2}:{n // 2}" for n in range(200)}

    async def cancel(self, *numbers: int, **more: object) -> None:
        ids = await self.ids()
        producer = await self.log.producer("cancel")
        cancels = [ControlRecord(execution=ids[n], **more) for n in numbers]  # type: ignore[arg-type]
        await write_cancels(self.log, producer, self.bench.topology, cancels, now_ms=self.bench.now_ms)
        await producer.close()

    async def at(self, now_ms: int, *stages: str) -> None:
        """Work all tasks of these stages; none: of all."""
        self.bench.now_ms = now_ms
        for stage in self.bench.topology.stages:
            for p in range(2) if not stages or stage.id in stages else ():
                if self.restart or (stage.id, p) not in self.bench.tasks:
                    await self.bench.start(stage.id, p)
                await self.bench.work(stage.id, p)

    async def statuses(self) -> dict[str, str]:
        found = stand(await records_of(self.log, self.bench.topology), self.bench.topology)
        return dict(found.select("execution", "status").iter_rows())

    async def standing(self, *numbers: int) -> list[str]:
        ids, found = await self.ids(), await self.statuses()
        return [found[ids[n]] for n in numbers]


async def out(log: Log, topic: str = "out") -> list[int]:
    return sorted(row["n"] for row in await values(log, topic))


async def proven(ground: Ground, tmp_path: Path) -> None:
    report = await audited(ground.log, ground.bench.topology)
    assert report.ok, report.text()
    records = await records_of(ground.log, ground.bench.topology)
    await agree_with_ledger(ground.log, ground.bench.topology, records)
    await replays(ground.bench.topology, ground.log, tmp_path)


@pytest.mark.parametrize("restart", [False, True])
def test_rows_end_where_they_are(restart: bool, tmp_path: Path) -> None:
    """Pending, held, between stages and held behind them; the rest goes on as ever."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(STAGES, tmp_path, nodes=NODES)
    first, second = (stage.id for stage in topology.stages)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        await ground.begin()
        await ground.items(*range(12))
        await ground.at(1_000)
        assert await ground.standing(0, 1) == ["waiting", "waiting"]
        await ground.cancel(0, 1, reason="not wanted", by="kim")
        await ground.at(1_001)
        assert await ground.standing(0, 1, 2) == ["cancelled", "cancelled", "waiting"]
        await ground.at(11_000, first)
        assert await ground.standing(2, 3) == ["running", "running"]
        await ground.cancel(2, 3)
        await ground.at(11_001, second)
        assert await ground.standing(2, 3, 4) == ["cancelled", "cancelled", "waiting"]
        await ground.cancel(4, 4, 0)
        await ground.at(11_002)
        assert await ground.standing(0, 4, 5) == ["cancelled", "cancelled", "waiting"]
        await ground.cancel(13)  # whose item comes later
        await ground.items(12, 13)
        await ground.at(11_003)
        assert await ground.standing(12, 13) == ["waiting", "cancelled"]
        await ground.at(21_004)
        await ground.at(31_010)
        assert await out(bench.log) == list(range(5, 13))
        await ground.cancel(5)  # too late
        await ground.at(31_011)
        assert await ground.standing(5, 6, 12) == ["completed"] * 3
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


SAGA = """
workflow: shop
nodes:
  orders: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  reserve: {type: set, fields: {reserved: true, wrapped: false}, compensate: release}
  paid: {type: wait, signal: payment, timeout: 600s}
  gift: {type: if, when: n % 2 == 0}
  wrap: {type: set, fields: {wrapped: true}, compensate: unwrap}
  moved: {type: repartition, key: string(n % 3)}
  ship: {type: set, fields: {shipped: 100 // (n % 7)}}
  shipped: {type: publish, topic: shipped, format: json}
  release: {type: set, fields: {why: error.code, at: error.node, undid: '"reserve"'}}
  unwrap: {type: set, fields: {why: error.code, at: error.node, undid: '"wrap"'}}
  undone: {type: publish, topic: undone, format: json}
connections:
  - orders -> reserve -> paid -> gift
  - gift.true -> wrap -> moved
  - gift.false -> moved
  - moved -> ship -> shipped
  - "[unwrap, release] -> undone"
policies: {on_error: compensate, executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


@pytest.mark.parametrize("on_cancel", ["", ", on_cancel: drop"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_was_done_is_undone(restart: bool, on_cancel: str, tmp_path: Path) -> None:
    """Steps that a cancelled execution has passed are undone, the last one first; those of others are not."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(SAGA.replace("partitions: 2}", f"partitions: 2{on_cancel}}}"), tmp_path, nodes=NODES)
    before = [s.id for s in topology.stages if not {"ship", "release"} & {n.id for n in s.nodes}]

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=restart), bench.log
        await ground.begin()
        await ground.items(*range(12))
        await ground.cancel(11)
        await ground.at(1_000)
        ids = await ground.ids()
        assert await ground.standing(0, 11) == ["waiting", "cancelled"]
        await ground.cancel(0, 1)
        await ground.at(1_001)
        await ground.at(1_002)
        assert await ground.standing(0, 1, 2) == ["cancelled", "cancelled", "waiting"]
        signals = await signals_topic(topology, log)
        producer = await log.producer("signals")
        paid = [Signal(name="payment", key=ids[n]) for n in range(8)]
        await write_signals(log, producer, signals, paid, now_ms=bench.now_ms)
        await producer.close()
        await ground.at(1_003, *before)
        assert await ground.standing(2, 3, 8) == ["running", "running", "waiting"]
        await ground.cancel(2, 3)  # on their way to be shipped
        await ground.at(1_004)
        await ground.at(1_005)
        assert await ground.standing(2, 3, 4, 7, 8) == ["cancelled"] * 2 + ["completed", "failed", "waiting"]
        assert await out(log, "shipped") == [4, 5, 6]
        undone = [(row["n"], row["undid"], row["why"], row["at"]) for row in await values(log, "undone")]
        expected = [
            (0, "reserve", "cancelled", "paid"),
            (1, "reserve", "cancelled", "paid"),
            (2, "reserve", "cancelled", "ship"),
            (2, "wrap", "cancelled", "ship"),
            (3, "reserve", "cancelled", "ship"),
        ]
        failed = [(7, "reserve", "division_by_zero", "ship")]
        assert sorted(undone) == sorted(failed if on_cancel else expected + failed)
        twice = [what for n, what, *_ in undone if n == 2]
        assert twice == ([] if on_cancel else ["wrap", "reserve"])
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


TIMED = """
workflow: timed-out
nodes:
  orders: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  reserve: {type: set, fields: {reserved: true}, compensate: release}
  pause: {type: wait, for: n * 1000}
  paid: {type: wait, signal: payment, timeout: 20s}
  moved: {type: repartition, key: string(n % 3)}
  ship: {type: set, fields: {shipped: true}}
  shipped: {type: publish, topic: shipped, format: json}
  unpaid: {type: publish, topic: unpaid, format: json}
  release: {type: set, fields: {why: error.code, at: error.node}}
  released: {type: publish, topic: released, format: json}
connections:
  - orders -> reserve -> pause -> paid -> moved -> ship -> shipped
  - paid.timeout -> unpaid
  - release -> released
policies:
  {on_error: compensate, executions: all, timeout: 30s, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


@pytest.mark.parametrize("restart", [False, True])
def test_executions_have_their_time(restart: bool, tmp_path: Path) -> None:
    """Rows that wait by the clock, for signals, and on their way: all end when the time of their execution is over."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(TIMED, tmp_path, nodes=NODES)
    before = [s.id for s in topology.stages if not {"ship", "release"} & {n.id for n in s.nodes}]

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=restart), bench.log
        await ground.begin()
        await ground.items(2, 3, 20, 21, 40, 41)
        ids = dict(
            zip((2, 20, 40, 3, 21, 41), [*[f"0:{i}" for i in range(3)], *[f"1:{i}" for i in range(3)]], strict=True)
        )
        of = (await log.topics())["in"].incarnation
        ids = {n: f"in#{of}/{place}" for n, place in ids.items()}

        async def standing(*numbers: int) -> list[str]:
            found = await ground.statuses()
            return [found[ids[n]] for n in numbers]

        async def pay(*numbers: int) -> None:
            producer = await log.producer("signals")
            signals = [Signal(name="payment", key=ids[n]) for n in numbers]
            await write_signals(log, producer, await signals_topic(topology, log), signals, now_ms=bench.now_ms)
            await producer.close()

        await ground.at(1_000)
        await ground.at(4_100)
        await ground.at(4_101)
        assert await standing(2, 3, 20) == ["waiting"] * 3
        await ground.at(23_000)
        await ground.at(23_001)
        await pay(20)
        await ground.at(24_200)
        assert await standing(2, 3) == ["completed", "completed"]
        assert await out(log, "unpaid") == [2, 3]
        await pay(20)
        await ground.at(30_999, *before)
        assert await out(log, "shipped") == [20]
        assert await standing(20, 21, 40) == ["completed", "waiting", "waiting"]
        await pay(21)
        await ground.at(30_999, *before)  # it goes on its way in time
        assert await standing(21) == ["running"]
        await ground.at(31_000)
        await ground.at(31_001)
        assert await standing(20, 21, 40, 41) == ["completed", "timed_out", "timed_out", "timed_out"]
        released = [(row["n"], row["why"], row["at"]) for row in await values(log, "released")]
        assert sorted(released) == [
            (21, "execution_timed_out", "ship"),
            (40, "execution_timed_out", "pause"),
            (41, "execution_timed_out", "pause"),
        ]
        assert await out(log, "shipped") == [20]
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


PARKING = """
workflow: parks
nodes:
  numbers: {type: event, topic: in, format: json, schema: n.avsc, key: '"same"'}
  shaky:
    type: set
    fields: {got: "100 // (n % 2)"}
    retry: {mode: park, attempts: 3, delay: 10s}
  out: {type: publish, topic: out, format: json}
connections: [numbers -> shaky -> out]
policies: {executions: all, TIMEOUT commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


@pytest.mark.parametrize("restart", [False, True])
def test_items_that_are_put_aside(restart: bool, tmp_path: Path) -> None:
    """The first of a queue, one in its midst, and the last: what is left of the queue goes on in its order."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(PARKING.replace("TIMEOUT ", ""), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        await ground.log.create_topic(TopicSpec(name="in", partitions=1))
        await send_at(ground.log, "in", 0, [(n, n) for n in (0, 1, 3, 4, 5, 7, 9)], batch=2)
        of = (await ground.log.topics())["in"].incarnation
        ids = {n: f"in#{of}/0:{at}" for at, n in enumerate((0, 1, 3, 4, 5, 7, 9))}

        async def cancel(*numbers: int) -> None:
            producer = await ground.log.producer("cancel")
            cancels = [ControlRecord(execution=ids[n]) for n in numbers]
            await write_cancels(ground.log, producer, topology, cancels, now_ms=bench.now_ms)
            await producer.close()

        async def at(now_ms: int) -> list[int]:
            bench.now_ms = now_ms
            if restart or not bench.tasks:
                await bench.start("numbers", 0)
            await bench.work("numbers", 0)
            return await out(ground.log)

        assert await at(1_000) == []
        await cancel(3, 9)
        assert await at(2_000) == []
        await cancel(0)
        assert await at(3_000) == [1]  # the next is tried at once, up to one that fails as well
        await cancel(4)
        assert await at(4_000) == [1, 5, 7]
        found = await ground.statuses()
        assert {n: found[ids[n]] for n in ids} == {n: "cancelled" if n in (0, 3, 4, 9) else "completed" for n in ids}
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("restart", [False, True])
def test_items_that_are_put_aside_for_too_long(restart: bool, tmp_path: Path) -> None:
    """The time of an execution is over before the next try, and items behind it have theirs looked at in their turn."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(PARKING.replace("TIMEOUT", "timeout: 4s,"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=restart), bench.log
        await log.create_topic(TopicSpec(name="in", partitions=1))
        of = (await log.topics())["in"].incarnation

        async def at(now_ms: int) -> list[int]:
            bench.now_ms = now_ms
            if restart or not bench.tasks:
                await bench.start("numbers", 0)
            await bench.work("numbers", 0)
            return await out(log)

        await send_at(log, "in", 0, [(0, 0), (1, 1)])
        assert await at(1_000) == []
        await send_at(log, "in", 0, [(3, 3), (2, 2), (5, 5)])
        assert await at(3_000) == []
        assert await at(4_999) == []
        assert await at(5_000) == [3]
        assert await at(7_000) == [3]
        found = await ground.statuses()
        assert [found[f"in#{of}/0:{offset}"] for offset in range(5)] == [
            "timed_out", "timed_out", "completed", "timed_out", "timed_out",
        ]  # fmt: skip
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


ONE_STAGE = """
workflow: one-stage
nodes:
  orders: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  reserve: {type: set, fields: {reserved: true}, compensate: release}
  ship: {type: set, fields: {shipped: true}}
  shipped: {type: publish, topic: shipped, format: json}
  release: {type: publish, topic: released, format: json}
connections: [orders -> reserve -> ship -> shipped]
policies: {on_error: compensate, executions: all, commit_interval: 30s, partitions: 2}
"""


@pytest.mark.parametrize("crash", [False, True])
def test_what_may_have_been_tried_goes_on(crash: bool, tmp_path: Path) -> None:
    """Steps that were tried, and not committed: after a crash their rows do not end before those are done again. Where
    a task ended in order nothing was tried, and rows end where they enter.
    """
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(ONE_STAGE, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(0)
        await ground.at(1_000)
        await ground.items(2, 4)
        ids = [f"in#{(await ground.log.topics())['in'].incarnation}/0:{offset}" for offset in range(5)]

        async def cancel(*offsets: int) -> None:
            producer = await ground.log.producer("cancel")
            cancels = [ControlRecord(execution=ids[offset]) for offset in offsets]
            await write_cancels(ground.log, producer, topology, cancels, now_ms=bench.now_ms)
            await producer.close()

        task = bench.tasks["orders", 0]
        if crash:
            assert await task.advance()
            assert task.has_pending
        else:
            await task.drain()
        await cancel(1)
        await bench.start("orders", 0)
        await bench.work("orders", 0)
        ends = "completed" if crash else "cancelled"
        assert (await ground.statuses())[ids[1]] == ends
        assert await out(ground.log, "shipped") == ([0, 2, 4] if crash else [0, 4])
        await cancel(3)
        await bench.work("orders", 0)  # orders are read when there is time, or every commit interval
        await ground.items(6, 8)
        await bench.work("orders", 0)
        found = await ground.statuses()
        assert [found[one] for one in ids] == ["completed", ends, "completed", "cancelled", "completed"]
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


LONG = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  pause: {type: wait, signal: go}
  out: {type: publish, topic: out, format: json}
connections: [start -> pause -> out]
policies: {executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""
DAY_MS = 86_400_000


def test_orders_that_have_no_effect_any_more_are_not_read_again(tmp_path: Path) -> None:
    """A task that begins reads of the control topic what may still hold, and what it has not counted; a replay reads
    what each run read.
    """
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(LONG, tmp_path, nodes=NODES)
    stage = next(s for s in topology.stages if any(n.id == "pause" for n in s.nodes))
    control = TopicPartition(stage.control, 0)

    async def starts(ground: Ground) -> list[int]:
        """Where the tasks' reads of the control topic went on from, by task, when they began again at this moment."""
        before = [len([1 async for _ in journal(ground.log, stage, p)]) for p in range(2)]
        ground.restart = True
        await ground.at(ground.bench.now_ms)
        ground.restart = False
        read = [[e async for e in journal(ground.log, stage, p)][before[p] :] for p in range(2)]
        return [min(s.range.first for e in entries for s in e.steps if s.at == control) for entries in read]

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(*range(8))
        await ground.at(0)
        for n in range(100, 120):
            await ground.cancel(n)  # whose items come too late for the order
        await ground.at(10)
        bench.now_ms = 3 * DAY_MS
        newer = (await bench.log.offsets(control))[1]
        await ground.cancel(0, 9, 10)  # the latter come later
        bench.now_ms = 9 * DAY_MS
        await ground.items(*range(8, 12))  # with something to look at orders for
        found = await starts(ground)
        assert found == [newer, newer], (found, newer)
        assert await ground.standing(0, 8, 9, 10, 11) == ["cancelled", "waiting", "cancelled", "cancelled", "waiting"]
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)
