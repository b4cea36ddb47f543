"""What a topic would reject is dead-lettered before it is sent: rows of topics, entries of stores, dead letters."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.deadletter import DeadLetter, decode_dead_letters
from streamflow.sdk.log import Log, TopicSpec
from streamflow.topology.plan import Topology
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, with_log

BIG = 400_000  # three of these are more than a record of a changelog holds


async def dead(log: Log, topology: Topology) -> list[DeadLetter]:
    at = TopicPartition(f"{topology.workflow}.dead-letter", 0)
    start, end = await log.offsets(at)
    batches = []
    while start < end:
        batches += await log.read(at, start, size_bytes_max=1 << 24)
        start = batches[-1].last_offset + 1
    return decode_dead_letters(batches)


STATES = {
    "window": "window, key: string(k), shape: unbounded, emit: update, "
    "fields: {all: {function: collect, of: string(v)}}",
    "session": "window, key: string(k), shape: session, gap: 1h, emit: update, "
    "fields: {all: {function: collect, of: string(v)}}",
    "reduce": "reduce, key: string(k), initial: '[\"\"]', expression: 'accumulator + [string(v)]', value_field: all",
}


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("kind", list(STATES))
def test_an_item_that_makes_a_state_too_large_fails(kind: str, batch: int, tmp_path: Path) -> None:
    """The state stays as it was, other keys and later items of the same key go on."""
    topology = compiled(
        f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  keep: {{type: {STATES[kind]}}}
  short: {{type: set, keep: [], fields: {{sizes: "join_sizes"}}}}
  out: {{type: publish, topic: out, format: json}}
connections: [start -> keep -> short -> out]
""".replace('"join_sizes"', "len(all)")
    )
    items = [{"k": "a", "v": "x" * BIG}, {"k": "b", "v": "y"}, {"k": "a", "v": "x" * BIG}, {"k": "a", "v": "z" * BIG}]

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [*items, {"k": "a", "v": "s"}, {"k": "b", "v": "y"}], batch=batch)
        await run(topology, log)
        values = [record[2] for record in (await contents(log, "out"))[0]]
        extra = kind == "reduce"
        assert values == [b'{"sizes":%d}' % (n + extra) for n in (1, 1, 2, 3, 2)]
        (letter,) = await dead(log, topology)
        assert (letter.code, letter.node) == ("too_large", "keep")
        assert b"zzz" in (letter.value or b"")
        assert "Keep less per key" in letter.message
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        await follow(topology, log, again, nodes=registry())
        assert await contents(again, "out") == await contents(log, "out")
        assert [one.code for one in await dead(again, topology)] == ["too_large"]
        await again.close()
        assert not (await audited(log, topology)).findings

    asyncio.run(with_log(tmp_path / "first", work))


@pytest.mark.parametrize("limit", [None, 2_000])
def test_a_row_that_its_topic_does_not_take_is_dead_lettered(limit: int | None, tmp_path: Path) -> None:
    topology = compiled("""
workflow: w
nodes:
  start: {type: event, topic: in, format: json}
  wide: {type: set, keep: [], fields: {v: "repeat(string(v), long(n))"}}
  out: {type: publish, topic: out, format: json}
connections: [start -> wide -> out]
""")
    config = {} if limit is None else {"max.message.bytes": str(limit)}
    large = 1_000_000 if limit is None else limit

    async def work(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="out", partitions=1, config=config))
        await send(log, "in", [{"v": "x", "n": 3}, {"v": "x", "n": large}, {"v": "x", "n": 4}])
        await run(topology, log)
        assert [r[2] for r in (await contents(log, "out"))[0]] == [b'{"v":"xxx"}', b'{"v":"xxxx"}']
        (letter,) = await dead(log, topology)
        assert (letter.code, letter.offset) == ("too_large", 1)
        assert f"{limit or 900_000} bytes" in letter.message
        assert not (await audited(log, topology)).findings

    asyncio.run(with_log(tmp_path, work))
