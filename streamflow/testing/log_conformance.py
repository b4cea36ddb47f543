"""What every Log must do, as tests. Needs pytest.

Subclass `LogConformance` in a test module and give it a fixture `make_log`: a function that returns a new, unopened Log
on the same storage each time it is called within a test.

    class TestMyLog(LogConformance):
        @pytest.fixture
        def make_log(self, tmp_path): return lambda: MyLog(tmp_path)

Topics and ids get names of their own in every test, so the storage may outlive one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamflow.codecs.records import Record, from_records, records
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import Fenced, OffsetOutOfRange, TopicExists, UnknownTopic
from streamflow.sdk.log import Log, NewBatch, Producer, TopicInfo, TopicSpec

MakeLog = Callable[[], Log]
Scenario = Callable[[Log], Coroutine[Any, Any, None]]
_READ_BYTES = 1 << 20
_WAIT_MS = 10_000  # an upper bound that a sound log never needs


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def batch(*values: str, time_ms: int = 1_000) -> NewBatch:
    """A batch with a record per value, keys equal to values, times counting up from `time_ms`."""
    return from_records([Record(0, time_ms + i, v.encode(), v.encode(), []) for i, v in enumerate(values)])


@asynccontextmanager
async def opened(*logs: Log) -> AsyncIterator[None]:
    """The logs, open."""
    for log in logs:
        await log.open()
    try:
        yield
    finally:
        for log in reversed(logs):
            await log.close()


async def new_topic(log: Log, partitions: int = 1, **config: str) -> TopicPartition:
    """Partition 0 of a new topic; `config` with underscores for dots."""
    spec = TopicSpec(
        name=unique("topic"), partitions=partitions, config={k.replace("_", "."): v for k, v in config.items()}
    )
    await log.create_topic(spec)
    return TopicPartition(spec.name, 0)


async def put(producer: Producer, at: TopicPartition, *batches: NewBatch) -> int:
    """Commit batches in one transaction; the end offset."""
    await producer.begin()
    await producer.append(at, batches)
    return (await producer.commit())[at]


async def all_records(log: Log, at: TopicPartition, offset: int | None = None) -> list[Record]:
    """Every committed record from `offset` on (default: the log start)."""
    start, end = await log.offsets(at)
    offset = start if offset is None else offset
    found: list[Record] = []
    position = offset
    while position < end:
        batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
        if not batches:
            break
        for one in batches:
            found += [r for r in records(one) if r.offset >= offset]
            position = one.last_offset + 1
    return found


async def values(log: Log, at: TopicPartition, offset: int | None = None) -> list[str]:
    return [(r.value or b"").decode() for r in await all_records(log, at, offset)]


def run(make_log: MakeLog, scenario: Scenario) -> None:
    """Run a scenario on one open log."""

    async def body() -> None:
        log = make_log()
        async with opened(log):
            await scenario(log)

    asyncio.run(asyncio.wait_for(body(), 120))


class LogConformance:
    """Tests of the Log contract (`sdk.log`). Subclasses provide the fixture `make_log`."""

    supports_compaction_on_demand = False  # whether `compact_now` makes compaction happen

    async def compact_now(self, log: Log) -> None:
        """Make compaction of closed data happen; only where `supports_compaction_on_demand`."""
        raise NotImplementedError

    # Topics

    def test_a_topic_is_created_listed_and_refused_the_second_time(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            spec = TopicSpec(name=unique("orders"), partitions=3, config={"cleanup.policy": "delete"})
            info = await log.create_topic(spec)
            assert (info.name, info.partitions) == (spec.name, 3)
            listed = (await log.topics())[spec.name]
            assert (listed.partitions, listed.incarnation) == (3, info.incarnation)
            assert listed.config["cleanup.policy"] == "delete"
            with pytest.raises(TopicExists):
                await log.create_topic(spec)
            assert await log.offsets(TopicPartition(spec.name, 2)) == (0, 0)

        run(make_log, scenario)

    def test_a_topic_made_again_is_another_incarnation(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            first = (await log.topics())[at.topic]
            await put(await log.producer(unique("p")), at, batch("old"))
            await log.set_offsets(group := unique("g"), {at: Committed(1)})
            await log.delete_topic(at.topic)
            await _until(lambda: _gone(log, at.topic))
            second = await _made_again(log, TopicSpec(name=at.topic))
            assert first.incarnation != second.incarnation
            assert await log.offsets(at) == (0, 0)
            assert at not in await log.committed(group, [at])

        run(make_log, scenario)

    def test_an_unknown_topic_is_an_error_everywhere(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = TopicPartition(unique("nowhere"), 0)
            for call in (
                lambda: log.offsets(at),
                lambda: log.read(at, 0, size_bytes_max=1),
                lambda: log.delete_topic(at.topic),
                lambda: log.delete_records(at, 0),
            ):
                with pytest.raises(UnknownTopic):
                    await call()
            producer = await log.producer(unique("p"))
            await producer.begin()
            with pytest.raises(UnknownTopic):
                await producer.append(at, [batch("a")])
            await producer.abort()

        run(make_log, scenario)

    # Append and read

    def test_records_come_back_in_order_with_dense_offsets(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            producer = await log.producer(unique("p"))
            await put(producer, at, batch("a", "b"), batch("c"))
            await put(producer, at, batch("d"))
            found = await all_records(log, at)
            assert [(r.value or b"").decode() for r in found] == ["a", "b", "c", "d"]
            assert [r.offset for r in found] == sorted({r.offset for r in found})
            assert [r.timestamp_ms for r in found] == [1000, 1001, 1000, 1000]

        run(make_log, scenario)

    def test_reading_starts_in_the_middle_of_a_batch(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            await put(await log.producer(unique("p")), at, batch("a", "b", "c", "d"))
            (first, *_) = await log.read(at, 2, size_bytes_max=1)
            assert first.base_offset <= 2 <= first.last_offset
            assert await values(log, at, 2) == ["c", "d"]

        run(make_log, scenario)

    def test_a_read_gives_one_batch_at_least_and_stops_at_its_limit(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            one = batch(*(f"{i:04}" for i in range(100)))
            await put(await log.producer(unique("p")), at, one, one, one, one)
            (single,) = await log.read(at, 0, size_bytes_max=1)
            assert single.count == 100
            several = await log.read(at, 0, size_bytes_max=2 * single.size_bytes)
            assert 1 <= len(several) <= 2
            assert [b.base_offset for b in several] == [0, 100][: len(several)]

        run(make_log, scenario)

    def test_reading_outside_the_log_is_an_error_and_at_its_end_gives_nothing(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            end = await put(await log.producer(unique("p")), at, batch("a"))
            _, high = await log.offsets(at)
            assert high >= end
            assert await log.read(at, high, size_bytes_max=_READ_BYTES) == []
            for wrong in (-1, high + 1):
                with pytest.raises(OffsetOutOfRange):
                    await log.read(at, wrong, size_bytes_max=_READ_BYTES)

        run(make_log, scenario)

    def test_null_keys_null_values_and_headers_survive(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            given = [
                Record(0, 5, None, b"v", []),
                Record(1, 6, b"k", None, []),
                Record(2, 4, b"", b"", [("h", b"1"), ("h", None), ("ä", b"")]),
            ]
            await put(await log.producer(unique("p")), at, from_records(given))
            assert await all_records(log, at) == given

        run(make_log, scenario)

    def test_what_one_opening_commits_another_reads(self, make_log: MakeLog) -> None:
        async def body() -> None:
            one, two = make_log(), make_log()
            async with opened(one, two):
                at = await new_topic(one)
                await put(await one.producer(unique("p")), at, batch("a"))
                await two.wait({at: 0}, timeout_ms=_WAIT_MS)
                assert await values(two, at) == ["a"]
                await put(await two.producer(unique("p")), at, batch("b"))
                position = (await all_records(one, at))[0].offset + 1
                await one.wait({at: position}, timeout_ms=_WAIT_MS)
                assert await values(one, at) == ["a", "b"]

        asyncio.run(asyncio.wait_for(body(), 120))

    def test_everything_is_still_there_after_closing(self, make_log: MakeLog) -> None:
        async def body() -> None:
            first, group = make_log(), unique("g")
            async with opened(first):
                at = await new_topic(first, partitions=2)
                other = TopicPartition(at.topic, 1)
                producer = await first.producer(unique("p"))
                await producer.begin()
                await producer.append(at, [batch("a")])
                await producer.append(other, [batch("b")])
                await producer.send_offsets(group, {at: Committed(1, "note")})
                await producer.commit()
            second = make_log()
            async with opened(second):
                assert (await values(second, at), await values(second, other)) == (["a"], ["b"])
                assert await second.committed(group, [at, other]) == {at: Committed(1, "note")}

        asyncio.run(asyncio.wait_for(body(), 120))

    # Transactions

    def test_a_transaction_over_partitions_and_groups_shows_at_once(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=3)
            partitions = [TopicPartition(at.topic, n) for n in range(3)]
            groups = [unique("g"), unique("g")]
            producer = await log.producer(unique("p"))
            await producer.begin()
            for one in partitions:
                await producer.append(one, [batch("x", "y")])
            for group in groups:
                await producer.send_offsets(group, {at: Committed(7, f"of {group}")})
            for one in partitions:
                assert await values(log, one) == []
            assert await log.committed(groups[0], [at]) == {}
            ends = await producer.commit()
            assert set(ends) == set(partitions)
            for one in partitions:
                await log.wait({one: 0}, timeout_ms=_WAIT_MS)
                assert await values(log, one) == ["x", "y"]
            for group in groups:
                assert await log.committed(group, [at]) == {at: Committed(7, f"of {group}")}

        run(make_log, scenario)

    def test_an_aborted_transaction_is_never_seen(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at, group = await new_topic(log), unique("g")
            producer = await log.producer(unique("p"))
            await producer.abort()  # nothing open: harmless
            await producer.begin()
            await producer.append(at, [batch("never")])
            await producer.send_offsets(group, {at: Committed(1)})
            await producer.abort()
            await put(producer, at, batch("always"))
            assert await values(log, at) == ["always"]
            assert await log.committed(group, [at]) == {}

        run(make_log, scenario)

    def test_offsets_alone_and_nothing_at_all_can_be_committed(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at, group = await new_topic(log), unique("g")
            producer = await log.producer(unique("p"))
            await producer.begin()
            await producer.send_offsets(group, {at: Committed(3)})
            assert await producer.commit() == {}
            await producer.begin()
            assert await producer.commit() == {}
            assert await log.committed(group, [at]) == {at: Committed(3)}

        run(make_log, scenario)

    def test_a_large_transaction_is_one(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=2)
            other = TopicPartition(at.topic, 1)
            big = from_records([Record(0, i, b"%d" % i, b"x" * 900, []) for i in range(500)])
            producer = await log.producer(unique("p"))
            await producer.begin()
            for _ in range(10):
                await producer.append(at, [big])
                await producer.append(other, [big, big])
            await producer.commit()
            for one, count in ((at, 5_000), (other, 10_000)):
                await log.wait({one: count - 1}, timeout_ms=_WAIT_MS)
                assert len(await all_records(log, one)) == count

        run(make_log, scenario)

    def test_concurrent_producers_lose_nothing_and_keep_their_order(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)

            async def write(name: str) -> None:
                producer = await log.producer(unique(name))
                for i in range(20):
                    await put(producer, at, batch(f"{name}{i:02}"))

            await asyncio.gather(*(write(name) for name in "abcd"))
            await log.wait({at: 79}, timeout_ms=_WAIT_MS)
            found = await all_records(log, at)
            assert len({r.offset for r in found}) == 80
            for name in "abcd":
                own = [v for r in found if (v := (r.value or b"").decode()).startswith(name)]
                assert own == [f"{name}{i:02}" for i in range(20)]

        run(make_log, scenario)

    # Fencing

    def test_a_newer_producer_fences_the_older_one_at_commit(self, make_log: MakeLog) -> None:
        async def body() -> None:
            one, two = make_log(), make_log()
            async with opened(one, two):
                at, group, name = await new_topic(one), unique("g"), unique("p")
                zombie = await one.producer(name)
                await put(zombie, at, batch("before"))
                await zombie.begin()
                await zombie.append(at, [batch("zombie")])
                await zombie.send_offsets(group, {at: Committed(9)})
                await _until(lambda: _known(two, at.topic))
                heir = await two.producer(name)
                with pytest.raises(Fenced):
                    await zombie.commit()
                await put(heir, at, batch("heir"))
                assert await values(two, at) == ["before", "heir"]
                assert await two.committed(group, [at]) == {}
                with pytest.raises(Fenced):
                    await put(zombie, at, batch("again"))
                await zombie.abort()
                await zombie.close()

        asyncio.run(asyncio.wait_for(body(), 120))

    def test_a_new_producer_settles_what_was_left_open(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at, name = await new_topic(log), unique("p")
            gone = await log.producer(name)
            await gone.begin()
            await gone.append(at, [batch("left open")])
            heir = await log.producer(name)
            await put(heir, at, batch("settled"))
            await log.wait({at: 0}, timeout_ms=_WAIT_MS)
            assert await values(log, at) == ["settled"]

        run(make_log, scenario)

    def test_producers_of_other_ids_do_not_fence_each_other(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            one, two = await log.producer(unique("p")), await log.producer(unique("p"))
            await put(one, at, batch("a"))
            await put(two, at, batch("b"))
            await put(one, at, batch("c"))
            assert await values(log, at) == ["a", "b", "c"]

        run(make_log, scenario)

    # Waiting, cancelling

    def test_wait_returns_when_a_record_is_there_and_when_its_time_is_over(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=2)
            other = TopicPartition(at.topic, 1)
            producer = await log.producer(unique("p"))
            await log.wait({at: 0, other: 0}, timeout_ms=1)  # nothing comes: it returns all the same
            waiting = asyncio.create_task(log.wait({at: 0, other: 0}, timeout_ms=_WAIT_MS))
            await put(producer, other, batch("a"))
            await waiting
            assert await values(log, other) == ["a"]
            await log.wait({at: 0, other: 0}, timeout_ms=_WAIT_MS)  # already there

        run(make_log, scenario)

    def test_cancelling_a_wait_or_a_read_does_no_harm(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            waiting = asyncio.create_task(log.wait({at: 0}, timeout_ms=_WAIT_MS))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await put(await log.producer(unique("p")), at, batch("a", "b"))
            for _ in range(3):
                reading = asyncio.create_task(log.read(at, 0, size_bytes_max=_READ_BYTES))
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            assert await values(log, at) == ["a", "b"]

        run(make_log, scenario)

    # Upkeep

    def test_deleted_records_are_gone_and_the_others_stay(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            producer = await log.producer(unique("p"))
            await put(producer, at, batch("a", "b", "c"))
            await put(producer, at, batch("d"))
            await log.delete_records(at, 2)
            assert (await log.offsets(at))[0] == 2
            with pytest.raises(OffsetOutOfRange):
                await log.read(at, 1, size_bytes_max=_READ_BYTES)
            assert await values(log, at) == ["c", "d"]
            with pytest.raises(OffsetOutOfRange):
                await log.delete_records(at, 1_000)

        run(make_log, scenario)

    def test_a_time_is_found_as_an_offset(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            producer = await log.producer(unique("p"))
            await put(producer, at, batch("a", time_ms=100))
            second = await put(producer, at, batch("b", time_ms=300)) - 1
            await put(producer, at, batch("c", time_ms=200))
            assert await log.offset_for_time(at, 50) == 0
            assert await log.offset_for_time(at, 101) == second
            assert await log.offset_for_time(at, 300) == second
            assert await log.offset_for_time(at, 301) is None

        run(make_log, scenario)

    def test_committed_positions_are_set_listed_and_forgotten(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=2)
            other = TopicPartition(at.topic, 1)
            group = unique("g")
            assert await log.committed(group, [at, other]) == {}
            await log.set_offsets(group, {at: Committed(4, "four"), other: Committed(5)})
            assert (await log.groups())[group] == {at: Committed(4, "four"), other: Committed(5)}
            await log.set_offsets(group, {at: None})
            assert await log.committed(group, [at, other]) == {other: Committed(5)}

        run(make_log, scenario)

    def test_compaction_keeps_the_last_value_of_each_key_at_its_offset(self, make_log: MakeLog) -> None:
        if not self.supports_compaction_on_demand:
            pytest.skip("this log compacts when it likes")

        async def scenario(log: Log) -> None:
            at = await new_topic(log, cleanup_policy="compact", segment_bytes="300", delete_retention_ms="0")
            producer = await log.producer(unique("p"))
            for i in range(12):
                await put(producer, at, batch(f"k{i % 3}", f"k{i % 3 + 3}"))
            before = await all_records(log, at)
            await self.compact_now(log)
            after = await all_records(log, at)
            assert len(after) < len(before)
            assert {r.key: r for r in after} == {r.key: r for r in before}
            assert [r for r in before if r in after] == after
            assert await log.offsets(at) == (0, 24)

        run(make_log, scenario)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Poll a condition that a remote log may need a moment for; the scenario's own limit ends it."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def _gone(log: Log, topic: str) -> bool:
    return topic not in await log.topics()


async def _known(log: Log, topic: str) -> bool:
    return topic in await log.topics()


async def _made_again(log: Log, spec: TopicSpec) -> TopicInfo:
    while True:
        try:
            return await log.create_topic(spec)
        except TopicExists:  # deletion is not through everywhere
            await asyncio.sleep(0.01)


__all__: Sequence[str] = (
    "LogConformance", "MakeLog", "all_records", "batch", "new_topic", "opened", "put", "run", "unique", "values",
)  # fmt: skip
