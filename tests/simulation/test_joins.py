"""Joins on a log: two topics that meet by key, whatever the steps and whatever fails, and again from the journal."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.topics import TopicMismatch
from streamflow.sdk.log import TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_faults import persist

BEFORE, AFTER, DISORDER = 400, 900, 500
KINDS = {
    "outer": f"kind: outer, before: {BEFORE}ms, after: {AFTER}ms",
    "asof": f"kind: left, time: asof, within: {AFTER}ms",
    "semi": f"kind: semi, before: {BEFORE}ms, after: {AFTER}ms",
}
WORKFLOW = """
workflow: met
nodes:
  ones: {{type: event, topic: ones, format: json, time: long(t), disorder: {disorder}ms}}
  others: {{type: event, topic: others, format: json, time: long(t), disorder: {disorder}ms}}
  one: {{type: set, keep: [], fields: {{k: string(k), n: long(n)}}}}
  another: {{type: set, keep: [], fields: {{k: string(k), n: long(n)}}}}
  j: {{type: join, key: k, {kind}, right_prefix: r_}}
  out: {{type: publish, topic: out, format: json}}
  late: {{type: publish, topic: late, format: json}}
connections:
  - ones -> one -> j.left
  - others -> another -> j.right
  - j -> out
  - j.late -> late
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 3}}
"""
Rows = list[dict[str, Any]]


def streams(count: int, seed: int = 7, late_ms: int = DISORDER) -> tuple[Rows, Rows]:
    """Two streams, neither of which is further out of order than DISORDER, or `late_ms`."""
    rng, sides = random.Random(seed), []
    for _ in range(2):
        rows: Rows = []
        for n in range(count):
            t = max(60 * n - rng.choice([0, 0, 0, 200, late_ms]), 0)
            rows.append({"k": f"k{rng.randrange(5)}" if rng.random() < 0.95 else None, "t": t, "n": n})
        # Time goes to its end on every partition.
        sides.append([*rows, *({"k": f"end{n}", "t": 10**9, "n": -1} for n in range(30))])
    return sides[0], sides[1]


def expected(kind: str, ones: Rows, others: Rows) -> Counter[tuple[Any, Any]]:
    made: Counter[tuple[Any, Any]] = Counter()
    ones, others = ([r for r in rows if r["n"] >= 0] for rows in (ones, others))
    met: set[int] = set()
    for one in ones:
        near = [o for o in others if one["k"] is not None and o["k"] == one["k"]]
        if kind == "asof":
            near = [o for o in near if 0 <= one["t"] - o["t"] <= AFTER]
            latest = max((o["t"] for o in near), default=None)
            made[one["n"], latest] += 1
            continue
        near = [o for o in near if -BEFORE <= o["t"] - one["t"] <= AFTER]
        met |= {o["n"] for o in near}
        if kind == "semi":
            made[one["n"], None] += bool(near)
            continue
        made.update((one["n"], o["n"]) for o in near or [{"n": None}])
    if kind == "outer":
        made.update((None, o["n"]) for o in others if o["n"] not in met)
    return +made


async def results(log: EmbeddedLog, kind: str, others: Rows) -> Counter[tuple[Any, Any]]:
    found = Counter((r.get("n"), r.get("r_n")) for r in await values(log, "out"))
    found = Counter({pair: n for pair, n in found.items() if -1 not in pair})
    if kind != "asof":
        return found
    # Of rows with equal times it is the one that came last, which depends on how tasks met: their time does not.
    return Counter({(n, None if at is None else others[at]["t"]): c for (n, at), c in found.items()})


@pytest.mark.parametrize(("kind", "step_bytes"), [("outer", 150), ("outer", 1 << 20), ("asof", 1_000), ("semi", 3_000)])
def test_two_topics_meet(kind: str, step_bytes: int, log_folder: Path) -> None:
    """Topics of unequal numbers of partitions: what is put between brings keys together."""
    ones, others = streams(100)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "ones", ones, batch=5, partitions=2)
        await send(log, "others", others, batch=3, partitions=3)
        await run(compiled(WORKFLOW.format(kind=KINDS[kind], disorder=DISORDER, step_bytes=step_bytes)), log)
        topics = await log.topics()
        assert topics["met.j.left.repartition"].partitions == topics["met.j.right.repartition"].partitions == 3
        assert await results(log, kind, others) == expected(kind, ones, others)
        assert not await values(log, "late")

    asyncio.run(with_log(log_folder, work))


ALIKE = """
workflow: met
nodes:
  ones: {type: event, topic: ones, format: json, time: long(t), disorder: 500ms,
    partitioned_by: string(k), partitioner: sum}
  others: {type: event, topic: others, format: json, time: long(t), disorder: 500ms,
    partitioned_by: string(k), partitioner: sum}
  j: {type: join, key: string(k), kind: outer, before: 400ms, after: 900ms}
  out: {type: publish, topic: out, format: json}
connections:
  - ones -> j.left
  - others -> j.right
  - j -> out
policies: {commit_interval: 1ms, step_bytes_max: 500}
"""


def test_topics_that_are_partitioned_alike_meet_without_a_repartition(log_folder: Path) -> None:
    """Method: put each key into a partition as the runtime would not."""
    ones, others = streams(100)
    topology = compiled(ALIKE)
    assert not [t.name for t in topology.topics if t.kind == "repartition"]

    def place(row: dict[str, Any]) -> int:
        return sum(str(row["k"]).encode()) % 3

    async def work(log: EmbeddedLog) -> None:
        for topic, rows in (("ones", ones), ("others", others)):
            await log.create_topic(TopicSpec(name=topic, partitions=3))
            producer = await log.producer(topic)
            for row in rows:
                record = Record(0, row["t"], None, json.dumps(row).encode(), [])
                await producer.begin()
                await producer.append(TopicPartition(topic, place(row)), [from_records([record])])
                await producer.commit()
        await run(topology, log)
        found = await values(log, "out")
        pairs = Counter(tuple(None if r[s] is None else r[s]["n"] for s in ("left", "right")) for r in found)
        assert {pair: n for pair, n in pairs.items() if -1 not in pair} == expected("outer", ones, others)

    asyncio.run(with_log(log_folder, work))


def test_topics_that_are_partitioned_alike_must_have_equally_many_partitions(log_folder: Path) -> None:
    async def work(log: EmbeddedLog) -> None:
        await send(log, "ones", [], partitions=3)
        await send(log, "others", [], partitions=5)
        with pytest.raises(TopicMismatch, match=r"stage 'ones' takes .* alike.*: 'ones' has 3 and 'others' has 5"):
            await run(compiled(ALIKE), log)
        assert set(await log.topics()) == {"ones", "others"}, "nothing is made of a workflow that cannot run"

    asyncio.run(with_log(log_folder, work))


@pytest.mark.parametrize("seed", range(12))
def test_any_fault_loses_and_doubles_nothing(seed: int, log_folder: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs: what is in memory never runs ahead of the store."""
    kind = list(KINDS)[seed % 3]
    ones, others = streams(60, seed)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "ones", ones, batch=5)
        await send(log, "others", others, batch=5)
        topology = compiled(WORKFLOW.format(kind=KINDS[kind], disorder=DISORDER, step_bytes=1_000))
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=80))
        await persist(topology, faulty, may_stop=True)
        assert await results(log, kind, others) == expected(kind, ones, others)
        assert not await values(log, "late")

    asyncio.run(with_log(log_folder, work))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_replay_from_the_start_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    """The live run had the streams in pieces, one side ahead of the other, and calls rows late: which ones depends on
    how far the other side was read, which the journal tells. Where nothing is later than was said, a run over all that
    is there gives the same rows without it.
    """

    async def live(log: EmbeddedLog, ones: Rows, others: Rows) -> Topology:
        topology = compiled(WORKFLOW.format(kind=KINDS[kind], disorder=DISORDER, step_bytes=1_500))
        for topic in ("ones", "others"):
            await send(log, topic, [])
        for at in range(0, 150, 50):
            await send(log, "ones", ones[at : at + 50], batch=4)
            await run(topology, log)
            await send(log, "others", others[at : at + 50], batch=7)
            await run(topology, log)
        return topology

    async def work(log: EmbeddedLog) -> None:
        topology = await live(log, *streams(120, late_ms=6_000))
        assert await values(log, "late")

        async def replayed(again: EmbeddedLog) -> None:
            await follow(topology, log, again, nodes=registry())
            for topic in ("out", "late"):
                assert await contents(again, topic) == await contents(log, topic)

        await with_log(tmp_path / "again", replayed)

    async def anew(log: EmbeddedLog) -> None:
        ones, others = streams(120)
        await live(log, ones, others)
        assert not await values(log, "late")
        assert await results(log, kind, others) == expected(kind, ones, others)

    asyncio.run(with_log(tmp_path / "first", work))
    asyncio.run(with_log(tmp_path / "whole", anew))
