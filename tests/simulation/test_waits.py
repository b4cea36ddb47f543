"""Items that wait by the clock and for signals: they come out once, as they went in, whatever restarts between.

Method: tasks driven by hand on a clock that the test sets; then the whole is replayed from its journals.
"""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.codecs.rows import RowCodec
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.model.types import frame_schema
from streamflow.operators import alarms
from streamflow.operators.signals import SIGNAL
from streamflow.replay.follow import follow
from streamflow.runtime.signals import Signal, signals_topic, write_signals
from streamflow.sdk.log import Log, TopicSpec
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, values
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, replays, send_at

FOR = """
workflow: pauses
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  pause: {type: wait, for: 10s}
  longer: {type: wait, for: n * 1000}
  out: {type: publish, topic: out, format: json, headers: {execution: meta.execution}}
  long: {type: publish, topic: long, format: json}
connections: [start -> pause -> out, start -> longer -> long]
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


async def out(log: Log, topic: str) -> list[int]:
    return sorted(row["n"] for row in await values(log, topic))


@pytest.mark.parametrize("restart", [False, True])
def test_waits_for_a_duration(restart: bool, tmp_path: Path) -> None:
    """Nothing is held back while items wait; they come out when their time is over, as they were, and only once."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(FOR, tmp_path, nodes=NODES)
    (stage,) = (stage.id for stage in topology.stages)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))

        async def at(now_ms: int) -> tuple[list[int], list[int]]:
            bench.now_ms = now_ms
            for p in range(2):
                if restart or not bench.tasks.get((stage, p)):
                    await bench.start(stage, p)
                await bench.work(stage, p)
            return await out(log, "out"), await out(log, "long")

        await send_at(log, "in", 0, [(n, 100 + n) for n in range(0, 40, 2)], batch=3)
        await send_at(log, "in", 1, [(n, 100 + n) for n in range(1, 40, 2)], batch=3)
        assert await at(1_000) == ([], [0])  # to wait for no time is to go on
        assert await bench.tasks[stage, 0].lag() == 0
        assert (await at(1_999))[1] == [0]
        assert (await at(2_000))[1] == [0, 1]
        await send_at(log, "in", 0, [(100, 5)])
        assert await at(4_500) == ([], [0, 1, 2, 3])
        assert await at(11_000) == (list(range(40)), list(range(11)))
        assert await at(14_499) == (list(range(40)), list(range(14)))
        assert await at(14_500) == ([*range(40), 100], list(range(14)))
        assert await at(200_000) == ([*range(40), 100], [*range(40), 100])
        for rows in (await contents(log, "out")).values():
            for ms, key, _, headers in rows:
                n = int(key)
                assert ms == (100 + n if n < 100 else 5), "event time is that of the item"
                (execution,) = [text.decode() for name, text in headers if name == "execution"]
                assert execution.startswith("in#")
                assert f"/{n % 2}:" in execution
        assert bench.tasks[stage, 0].metrics.dead == 0
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


APPROVALS = """
workflow: approvals
nodes:
  orders: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  approved: {type: wait, signal: approval, key: string(n), timeout: 60s, keep_early: 30s, keep_early_max: 2}
  done: {type: publish, topic: done, format: json}
  late: {type: publish, topic: late, format: json}
connections: [orders -> approved -> done, approved.timeout -> late]
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


class Ground:
    """A workflow with signals, all of whose tasks are worked in turn."""

    def __init__(self, bench: Bench, *, restart: bool) -> None:
        self.bench, self.log, self.restart = bench, bench.log, restart

    async def begin(self) -> None:
        await self.log.create_topic(TopicSpec(name="in", partitions=2))
        self.topic = await signals_topic(self.bench.topology, self.log)

    async def tell(self, *signals: Signal) -> None:
        producer = await self.log.producer("signals")
        await write_signals(self.log, producer, self.topic, signals, now_ms=self.bench.now_ms)
        await producer.close()

    async def approve(self, *keys: object, **more: str) -> None:
        await self.tell(*(Signal(name="approval", key=str(key), **more) for key in keys))

    async def items(self, *numbers: int) -> None:
        for p in range(2):
            await send_at(self.log, "in", p, [(n, n) for n in numbers if n % 2 == p])

    async def at(self, now_ms: int) -> None:
        self.bench.now_ms = now_ms
        for stage in self.bench.topology.stages:
            for p in range(2):
                if self.restart or (stage.id, p) not in self.bench.tasks:
                    await self.bench.start(stage.id, p)
                await self.bench.work(stage.id, p)

    async def dead(self) -> int:
        topic = f"{self.bench.topology.workflow}.dead-letter"
        return sum(map(len, (await contents(self.log, topic)).values()))


@pytest.mark.parametrize("restart", [False, True])
def test_waits_for_signals(restart: bool, tmp_path: Path) -> None:
    """Answers, early signals, time-outs, and signals in vain; with every task begun anew each time, too."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(APPROVALS, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        log = bench.log
        await ground.begin()
        await ground.items(1, 2, 3, 4)
        await ground.at(1_000)
        assert await out(log, "done") == []
        await ground.approve(2, 3, payload='{"by": "kim", "fine": true}')
        await ground.tell(Signal(name="other", key="4"))
        await ground.at(2_000)
        assert [row["signal"] for row in await values(log, "done")] == [{"by": "kim", "fine": True}] * 2
        assert await out(log, "done") == [2, 3]
        # Answered already: these are early for the next items of their keys.
        await ground.approve(2, 2, payload='"again"')
        await ground.approve(9)
        await ground.at(3_000)
        await ground.items(2, 2, 9)
        await ground.at(4_000)
        assert await out(log, "done") == [2, 2, 2, 3, 9]
        assert [row["signal"] for row in await values(log, "done") if row["n"] == 9] == [None]
        await ground.items(2)
        await ground.approve(7, 7, 7)  # at most two of a key are kept
        await ground.at(5_000)
        assert await ground.dead() == 1
        await ground.approve(1)
        await ground.at(61_000)  # what is due goes before what comes at the same reading of the clock
        assert await out(log, "late") == [1, 4]
        assert await ground.dead() == 3, "signals for 7 were kept long enough"
        await ground.at(65_000)
        assert await out(log, "late") == [1, 2, 4]
        await ground.at(91_001)
        assert await ground.dead() == 4, "the signal for 1 came too late"
        assert await out(log, "done") == [2, 2, 2, 3, 9]
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_signals_that_were_written_without_an_id_are_read(tmp_path: Path) -> None:
    """An earlier version's record is one of today but for its last byte; one that is cut is a dead letter."""
    (tmp_path / "n.avsc").write_text(SCHEMA)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=False)
        await ground.begin()
        await ground.items(1, 2, 3, 4)
        now = RowCodec(SIGNAL).encode(
            pl.DataFrame(
                [
                    {"name": "approval", "key": str(n), "payload": str(n), "id": id}
                    for n, id in ((1, None), (2, None), (3, "x"), (4, ""))
                ],
                schema=frame_schema(SIGNAL),
            )
        )
        values = [now[0], now[1][:-1], now[2][:-2], now[3]]
        assert now[1][-1:] == b"\0"
        producer = await bench.log.producer("by hand")
        await producer.begin()
        batch = from_records([Record(n, 0, str(n + 1).encode(), value, []) for n, value in enumerate(values)])
        await producer.append(TopicPartition(ground.topic, 0), [batch])
        await producer.commit()
        await producer.close()
        await ground.at(1_000)
        assert await out(bench.log, "done") == [1, 2]
        letters = (await contents(bench.log, "approvals.dead-letter")).values()
        assert sum(map(len, letters)) == 2

    benched(tmp_path, compiled(APPROVALS, tmp_path, nodes=NODES), work)


COUNTED = """
workflow: counted
nodes:
  orders: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  approved: {type: wait, signal: go, key: string(n)}
  counts: {type: window, key: n % 2, key_field: odd, size: 10s, fields: {many: {function: count}}}
  late: {type: publish, topic: late, format: json}
  out: {type: publish, topic: out, format: json}
connections: [orders -> approved -> counts -> out, counts.late -> late]
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


def test_signals_do_not_hold_event_time_back(tmp_path: Path) -> None:
    """A window behind a wait closes when the items' time says so, however many signals came, and when; what waited for
    too long is late.
    """
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(COUNTED, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=False), bench.log
        await ground.begin()
        for p in range(2):
            await send_at(log, "in", p, [(p, 1_000), (2 + p, 5_000), (4 + p, 8_000)])
        await ground.at(10_000)
        await ground.tell(*(Signal(name="go", key=str(n)) for n in range(4)))
        await ground.at(11_000)
        assert await values(log, "out") == [], "event time is at 8 s"
        for p in range(2):
            await send_at(log, "in", p, [(6 + p, 60_000)])
        await ground.at(12_000)
        await ground.at(13_500)
        found = sorted((row["odd"], row["many"]) for row in await values(log, "out"))
        assert found == [(0, 2), (1, 2)]
        await ground.tell(Signal(name="go", key="4"))
        await ground.at(14_000)
        await ground.at(16_000)
        assert [row["n"] for row in await values(log, "late")] == [4]
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        await follow(topology, log, again, nodes=NODES)
        for topic in ("out", "late"):  # markers say, too, whether there was more to read then
            assert await contents(again, topic) == await contents(log, topic)
        await again.close()

    benched(tmp_path, topology, work)


LOOSE = """
workflow: loose
nodes:
  orders: {type: event, topic: in, format: json}
  approved: {type: wait, signal: go, key: n, schema: decision.avsc, answers: one}
  out: {type: publish, topic: out, format: json}
connections: [orders -> approved -> out]
policies: {commit_interval: 1ms, partitions: 2}
"""
DECISION = (
    '{"type": "record", "name": "Decision", "fields": [{"name": "by", "type": "string"}, '
    '{"name": "limit", "type": ["null", "double"], "default": null}]}'
)


@pytest.mark.parametrize("typed", [False, True])
def test_payloads_of_a_schema_and_items_of_none(typed: bool, tmp_path: Path) -> None:
    """A signal that does not fit is a dead letter and answers nothing; of several items that wait one goes on."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "decision.avsc").write_text(DECISION)
    text = LOOSE.replace("format: json}\n  approved", "format: json, schema: n.avsc}\n  approved") if typed else LOOSE
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=True), bench.log
        await ground.begin()
        await ground.items(1, 1, 2)
        await ground.at(1_000)
        await ground.tell(
            Signal(name="go", key="1", payload='{"limit": 5}'),
            Signal(name="go", key="2", payload="{no json"),
            Signal(name="go", key="1", payload='{"by": "kim", "limit": 7.5}'),
            Signal(name="go", key="2", payload='{"by": "lee"}', node="another"),
        )
        await ground.at(2_000)
        expected = {"n": 1, "signal": {"by": "kim", "limit": 7.5}}
        assert await values(log, "out") == [expected]
        assert await ground.dead() == 2
        await ground.tell(Signal(name="go", key="1", payload='{"by": "lee"}', node="approved"))
        await ground.at(3_000)
        (_, last) = await values(log, "out")
        assert last["signal"]["by"] == "lee"
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("seed", range(4))
def test_many_items_and_signals_in_any_order(seed: int, tmp_path: Path) -> None:
    """Method: items and signals of many keys in portions, tasks begun anew at random; each item is answered once."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    text = APPROVALS.replace("keep_early: 30s, keep_early_max: 2", "keep_early: 1h")
    topology = compiled(text.replace("timeout: 60s", "timeout: 1h"), tmp_path, nodes=NODES)
    draw = random.Random(seed)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=False), bench.log
        await ground.begin()
        items, told = list(range(300)), list(range(300))
        draw.shuffle(items)
        draw.shuffle(told)
        while items or told:
            if items and draw.random() < 0.5:
                await ground.items(*(items.pop() for _ in range(min(len(items), draw.randrange(1, 40)))))
            elif told:
                keys = [told.pop() for _ in range(min(len(told), draw.randrange(1, 40)))]
                await ground.tell(*(Signal(name="approval", key=str(n), payload=str(n)) for n in keys))
            ground.restart = draw.random() < 0.3
            await ground.at(bench.now_ms + draw.randrange(1, 1_000))
        await ground.at(bench.now_ms + 10)
        found = [(row["n"], row["signal"]) for row in await values(log, "done")]
        assert sorted(found) == [(n, n) for n in range(300)]
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_much_that_is_due_at_once_is_woken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due still goes before the rows that come at the same reading of the clock; a replay does the same."""
    monkeypatch.setattr(alarms, "ENTRIES_MAX", 4)
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(APPROVALS, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=True), bench.log
        await ground.begin()
        await ground.items(*range(50))
        await ground.at(1_000)
        await ground.approve(*range(50))
        await ground.at(61_000)
        assert await out(log, "late") == list(range(50))
        assert await out(log, "done") == []
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_a_time_out_may_stop_the_workflow(tmp_path: Path) -> None:
    """Where nothing is connected to `timeout` the item fails, and the policy of its node holds."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    text = APPROVALS.replace("signal: approval", "signal: approval, on_error: stop").replace(
        ", approved.timeout -> late", ""
    )
    topology = compiled(text.replace("  late: {type: publish, topic: late, format: json}\n", ""), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground, log = Ground(bench, restart=False), bench.log
        await ground.begin()
        await ground.items(1, 2)
        await ground.at(1_000)
        await ground.approve(2)
        await ground.approve(3)  # in vain: that stops nothing
        await ground.at(2_000)
        await ground.at(40_000)
        assert await ground.dead() == 1
        halted = [task.halted for task in bench.tasks.values() if task.halted is not None]
        assert not halted
        await ground.at(61_000)
        (stopped,) = [task.halted for task in bench.tasks.values() if task.halted is not None]
        assert "timed_out" in stopped.message
        assert await out(log, "done") == [2]
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)
