"""What every Log must do with transactions and rival producers (see `log_conformance`)."""

from __future__ import annotations

import asyncio

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import Fenced, UnknownTopic
from streamflow.sdk.log import Log
from streamflow.testing.log_steps import (
    WAIT_MS,
    MakeLog,
    all_records,
    batch,
    known,
    new_topic,
    opened,
    put,
    run,
    unique,
    until,
    values,
)


class TransactionConformance:
    """All or nothing, in order, one producer per id. Subclasses provide the fixture `make_log`."""

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
                await log.wait({one: 0}, timeout_ms=WAIT_MS)
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

    def test_what_is_appended_outside_of_transactions_is_seen_at_once_and_in_order(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            at = await new_topic(log, partitions=2)
            other = TopicPartition(at.topic, 1)
            appender = await log.appender(unique("a"))
            await appender.append({at: [batch("a", "b"), batch("c")], other: [batch("x")]})
            await log.wait({at: 2, other: 0}, timeout_ms=WAIT_MS)
            assert await values(log, at) == ["a", "b", "c"]
            assert await values(log, other) == ["x"]
            for n in range(20):
                await appender.append({at: [batch(str(n))]})
            await appender.append({})
            await log.wait({at: 22}, timeout_ms=WAIT_MS)
            assert await values(log, at) == ["a", "b", "c", *map(str, range(20))]
            await put(await log.producer(unique("p")), at, batch("of a transaction"))
            assert (await values(log, at))[-1] == "of a transaction"
            await appender.close()

        run(make_log, scenario)

    def test_an_appender_tells_of_a_topic_that_is_not_there(self, make_log: MakeLog) -> None:
        async def scenario(log: Log) -> None:
            appender = await log.appender(unique("a"))
            with pytest.raises(UnknownTopic):
                await appender.append({TopicPartition(unique("none"), 0): [batch("x")]})
            at = await new_topic(log)
            await appender.append({at: [batch("y")]})
            await log.wait({at: 0}, timeout_ms=WAIT_MS)
            assert await values(log, at) == ["y"]

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
                await log.wait({one: count - 1}, timeout_ms=WAIT_MS)
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
            await log.wait({at: 79}, timeout_ms=WAIT_MS)
            found = await all_records(log, at)
            assert len({r.offset for r in found}) == 80
            for name in "abcd":
                own = [v for r in found if (v := (r.value or b"").decode()).startswith(name)]
                assert own == [f"{name}{i:02}" for i in range(20)]

        run(make_log, scenario)

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
                await until(lambda: known(two, at.topic))
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
            await log.wait({at: 0}, timeout_ms=WAIT_MS)
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
