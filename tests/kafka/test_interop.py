"""librdkafka beside our log on a real broker: each reads what the other writes, in every compression."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import get_args

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as Position

from streamflow.codecs.records import Record, from_records
from streamflow.logs import KafkaLog, KafkaOptions
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import Compression, TopicSpec
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import all_records, new_topic, opened, put, unique

COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
T0 = 1_700_000_000_000
TIMEOUT_S = 30

# Null and empty are two things in keys, values and headers; times go backwards; names repeat; one value is large.
AWKWARD = [
    Record(0, T0, b"k", b"v", []),
    Record(1, T0 + 5, None, b"no key", []),
    Record(2, T0 - 7, b"tombstone", None, []),
    Record(3, T0 + 1, b"", b"", [("only", b"header")]),
    Record(4, T0, None, None, [("a", b"1"), ("a", b"2"), ("ü", None), ("e", b"")]),
    Record(5, T0, b"large", bytes(range(256)) * 1_000, []),
]
MANY = [Record(i, T0 + i, b"key-%d" % (i % 100), b"value number %d" % i, []) for i in range(5_000)]
ROWS = pytest.mark.parametrize("rows", [AWKWARD, MANY], ids=["awkward", "many"])


def run(kafka: KafkaServer, compression: Compression, scenario: Callable[[KafkaLog], Awaitable[None]]) -> None:
    async def body() -> None:
        log = KafkaLog(kafka.address, options=KafkaOptions.make(compression=compression, transaction_bytes_max=1))
        async with opened(log):
            await scenario(log)

    asyncio.run(asyncio.wait_for(body(), 120))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@ROWS
def test_librdkafka_reads_what_we_commit_and_nothing_else(
    kafka: KafkaServer, compression: Compression, rows: list[Record]
) -> None:
    """Aborted transactions lie before and between, all of them sent; positions of a group travel along."""

    async def scenario(log: KafkaLog) -> None:
        at, group = await new_topic(log, retention_ms="-1"), unique("g")
        producer = await log.producer(unique("p"))
        for step in ("abort", "commit", "abort", "commit", "left open"):
            await producer.begin()
            await producer.append(at, [from_records(rows if step == "commit" else AWKWARD)])
            if step == "commit":
                await producer.send_offsets(group, {at: Committed(7)})
                await producer.commit()
            elif step == "abort":
                await producer.abort()
        await producer.close()
        assert (await log.offsets(at))[1] >= 2 * (len(rows) + 1) + 2 * (len(AWKWARD) + 1)
        found = await asyncio.to_thread(_consume, kafka, at, 2 * len(rows), group)
        assert [r._replace(offset=0) for r in found] == [r._replace(offset=0) for r in rows * 2]
        assert [r.offset for r in found] == [r.offset for r in await all_records(log, at)]

    run(kafka, compression, scenario)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@ROWS
def test_we_read_what_librdkafka_commits_and_nothing_else(
    kafka: KafkaServer, compression: Compression, rows: list[Record]
) -> None:
    async def scenario(log: KafkaLog) -> None:
        at, group = await new_topic(log, retention_ms="-1"), unique("g")
        await asyncio.to_thread(_transact, kafka, at, compression, [(rows, True), (rows, False), (rows, True)], group)
        while (await log.offsets(at))[1] < 3 * len(rows):  # markers are written a moment after the commit
            await log.wait({at: 3 * len(rows)}, timeout_ms=100)
        found = await all_records(log, at)
        assert [r._replace(offset=0) for r in found] == [r._replace(offset=0) for r in rows * 2]
        assert found[len(rows)].offset > 2 * len(rows)
        theirs = (await log.committed(group, [at]))[at]
        assert (theirs.offset, theirs.metadata.rstrip("\0")) == (5, "theirs")  # librdkafka sends its terminator too

    run(kafka, compression, scenario)


def test_what_is_not_committed_yet_is_not_read_and_hides_what_comes_behind(kafka: KafkaServer) -> None:
    """Only up to the last stable offset: a transaction of librdkafka is open while others write behind it."""

    async def scenario(log: KafkaLog) -> None:
        at = await new_topic(log, retention_ms="-1")
        theirs = _producer(kafka, "none", unique("p"))
        await asyncio.to_thread(_begin, theirs, at, AWKWARD[:2])
        ours = await log.producer(unique("p"))
        await put(ours, at, from_records(AWKWARD[:1]))
        assert await log.offsets(at) == (0, 0)
        assert await log.read(at, 0, size_bytes_max=1 << 20) == []
        waiting = asyncio.create_task(log.wait({at: 0}, timeout_ms=TIMEOUT_S * 1000))
        await asyncio.to_thread(theirs.commit_transaction, TIMEOUT_S)
        await waiting
        assert len(await all_records(log, at)) == 3

    run(kafka, "lz4", scenario)


def test_records_without_transactions_and_with_times_of_the_broker(kafka: KafkaServer) -> None:
    async def scenario(log: KafkaLog) -> None:
        spec = TopicSpec(name=unique("stamped"), config={"message.timestamp.type": "LogAppendTime"})
        at = TopicPartition((await log.create_topic(spec)).name, 0)
        await asyncio.to_thread(_transact, kafka, at, "zstd", [(MANY[:50], True)], None)
        found = await all_records(log, at)
        assert [(r.key, r.value) for r in found] == [(r.key, r.value) for r in MANY[:50]]
        assert all(r.timestamp_ms > T0 + 100_000 for r in found)

    run(kafka, "lz4", scenario)


def _consume(kafka: KafkaServer, at: TopicPartition, wanted: int, group: str) -> list[Record]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "check.crcs": True,
        }
    )
    (position,) = consumer.committed([Position(at.topic, 0)], timeout=TIMEOUT_S)
    assert position.offset == 7
    consumer.assign([Position(at.topic, 0, 0)])
    found: list[Record] = []
    while len(found) < wanted:
        messages = consumer.consume(min(wanted - len(found), 1_000), timeout=TIMEOUT_S)
        assert messages, f"{len(found)} of {wanted} records came"
        for m in messages:
            assert m.error() is None
            found.append(Record(m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or []))
    assert consumer.consume(1, timeout=0.5) == []
    consumer.close()
    return found


def _producer(kafka: KafkaServer, compression: Compression, transactional_id: str | None) -> Producer:
    settings = {"bootstrap.servers": kafka.bootstrap, "compression.type": compression, "linger.ms": 20, "acks": "all"}
    producer = Producer(settings | ({"transactional.id": transactional_id} if transactional_id else {}))
    if transactional_id:
        producer.init_transactions(TIMEOUT_S)
    return producer


def _begin(producer: Producer, at: TopicPartition, rows: list[Record]) -> None:
    producer.begin_transaction()
    _send(producer, at, rows)


def _send(producer: Producer, at: TopicPartition, rows: list[Record]) -> None:
    failed: list[KafkaError] = []

    def told(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for r in rows:
        producer.produce(
            at.topic, r.value, r.key, at.partition, headers=r.headers, timestamp=r.timestamp_ms, on_delivery=told
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert failed == []


def _transact(
    kafka: KafkaServer,
    at: TopicPartition,
    compression: Compression,
    steps: list[tuple[list[Record], bool]],
    group: str | None,
) -> None:
    """Write `rows` of each step, and commit or abort them; without `group` there are no transactions."""
    producer = _producer(kafka, compression, unique("p") if group else None)
    for rows, commit in steps:
        if not group:
            _send(producer, at, rows)
            continue
        _begin(producer, at, rows)
        if commit:
            consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
            position = Position(at.topic, at.partition, 5, metadata="theirs")
            producer.send_offsets_to_transaction([position], consumer.consumer_group_metadata(), TIMEOUT_S)
            producer.commit_transaction(TIMEOUT_S)
            consumer.close()
        else:
            producer.abort_transaction(TIMEOUT_S)
