"""What every Log must do with topics, records, waiting readers and old data (see `log_conformance`)."""

from __future__ import annotations

import asyncio

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange, TopicExists, UnknownTopic
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.log_steps import (
    READ_BYTES,
    WAIT_MS,
    MakeLog,
    all_records,
    batch,
    gone,
    made_again,
    new_topic,
    opened,
    put,
    run,
    unique,
    until,
    values,
)


class DataConformance:
    """Topics, appending, reading, waiting, upkeep. Subclasses provide the fixture `make_log`."""

    supports_compaction_on_demand = False  # whether `compact_now` makes compaction happen

    async def compact_now(self, log: Log) -> None:
        """Make compaction of closed data happen; only where `supports_compaction_on_demand`."""
        raise NotImplementedError

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
            await until(lambda: gone(log, at.topic))
            second = await made_again(log, TopicSpec(name=at.topic))
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
            assert await log.read(at, high, size_bytes_max=READ_BYTES) == []
            for wrong in (-1, high + 1):
                with pytest.raises(OffsetOutOfRange):
                    await log.read(at, wrong, size_bytes_max=READ_BYTES)

        run(make_log, scenario)

    def test_reading_on_arrives_at_the_end_exactly(self, make_log: MakeLog) -> None:
        """Past markers and aborted records too: a task is done when its position is the end."""

        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            producer = await log.producer(unique("p"))
            for steps in ("c", "ca", "cac", "aa"):
                for step in steps:
                    await producer.begin()
                    await producer.append(at, [batch("x", "y"), batch("z")])
                    await (producer.commit() if step == "c" else producer.abort())
                start, end = await log.offsets(at)
                for size_bytes_max in (1, READ_BYTES):
                    for position in range(start, end + 1):
                        while found := await log.read(at, position, size_bytes_max=size_bytes_max):
                            assert found[0].base_offset <= found[0].last_offset >= position
                            position = found[-1].last_offset + 1
                        # A remote log may add the marker of an abort a moment later.
                        assert end <= position <= (await log.offsets(at))[1]

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
                await two.wait({at: 0}, timeout_ms=WAIT_MS)
                assert await values(two, at) == ["a"]
                await put(await two.producer(unique("p")), at, batch("b"))
                position = (await all_records(one, at))[0].offset + 1
                await one.wait({at: position}, timeout_ms=WAIT_MS)
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

    def test_wait_returns_when_a_record_is_there_and_when_its_time_is_over(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=2)
            other = TopicPartition(at.topic, 1)
            producer = await log.producer(unique("p"))
            await log.wait({at: 0, other: 0}, timeout_ms=1)  # nothing comes: it returns all the same
            waiting = asyncio.create_task(log.wait({at: 0, other: 0}, timeout_ms=WAIT_MS))
            await put(producer, other, batch("a"))
            await waiting
            assert await values(log, other) == ["a"]
            await log.wait({at: 0, other: 0}, timeout_ms=WAIT_MS)  # already there

        run(make_log, scenario)

    def test_cancelling_a_wait_or_a_read_does_no_harm(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            waiting = asyncio.create_task(log.wait({at: 0}, timeout_ms=WAIT_MS))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await put(await log.producer(unique("p")), at, batch("a", "b"))
            for _ in range(3):
                reading = asyncio.create_task(log.read(at, 0, size_bytes_max=READ_BYTES))
                await asyncio.sleep(0)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            assert await values(log, at) == ["a", "b"]

        run(make_log, scenario)

    def test_deleted_records_are_gone_and_the_others_stay(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log)
            producer = await log.producer(unique("p"))
            await put(producer, at, batch("a", "b", "c"))
            await put(producer, at, batch("d"))
            await log.delete_records(at, 2)
            assert (await log.offsets(at))[0] == 2
            with pytest.raises(OffsetOutOfRange):
                await log.read(at, 1, size_bytes_max=READ_BYTES)
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
