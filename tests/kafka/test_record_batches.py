"""Our record batches are Kafka's: the broker takes them, librdkafka reads them, and we read librdkafka's."""

from typing import get_args

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from streamflow.codecs.recordbatch import build, open_batch, parse_header
from streamflow.codecs.records import Record, from_records, records
from streamflow.sdk.log import Compression
from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.conftest import MakeTopic
from tests.kafka.wire import fetch, produce

COMPRESSIONS = get_args(Compression)
T0 = 1_700_000_000_000
CORRUPT_MESSAGE = 2

# Null and empty are two things in keys, values and headers; times go backwards; names repeat; one value is large.
AWKWARD = [
    Record(0, T0, b"k", b"v", []),
    Record(1, T0 + 5, None, b"no key", []),
    Record(2, T0 - 7, b"tombstone", None, []),
    Record(3, T0 + 1, b"", b"", []),
    Record(4, T0, None, None, [("only", b"headers")]),
    Record(
        5, T0 + 86_400_000, "schlüssel".encode(), "wért".encode(), [("a", b"1"), ("a", b"2"), ("ü", None), ("e", b"")]
    ),
    Record(6, T0, b"large", bytes(range(256)) * 1_000, []),
]
MANY = [Record(i, T0 + i, b"key-%d" % (i % 100), b"value number %d" % i, []) for i in range(20_000)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("rows", [AWKWARD, MANY], ids=["awkward", "many"])
def test_librdkafka_reads_what_we_build(
    kafka: KafkaServer, make_topic: MakeTopic, compression: Compression, rows: list[Record]
) -> None:
    topic = make_topic(f"built-{compression}")
    stored = build(from_records(rows), base_offset=0, compression=compression)
    assert produce(kafka.bootstrap, topic, stored) == (0, 0)
    assert produce(kafka.bootstrap, topic, stored) == (0, len(rows))  # the broker, not we, gives the offset
    assert _consume(kafka, topic, 2 * len(rows)) == rows + [r._replace(offset=len(rows) + r.offset) for r in rows]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("rows", [AWKWARD, MANY], ids=["awkward", "many"])
def test_we_read_what_librdkafka_builds(
    kafka: KafkaServer, make_topic: MakeTopic, compression: Compression, rows: list[Record]
) -> None:
    topic = make_topic(f"theirs-{compression}")
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "compression.type": compression, "linger.ms": 200, "acks": "all"}
    )
    failed: list[KafkaError] = []

    def told(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    for r in rows:
        producer.produce(topic, key=r.key, value=r.value, headers=r.headers, timestamp=r.timestamp_ms, on_delivery=told)
    assert producer.flush(60) == 0
    assert failed == []
    read, codecs = _read_raw(kafka, topic, len(rows))
    assert read == rows
    assert compression in codecs  # librdkafka stores a batch plain when compressing it would not pay


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_broker_refuses_what_we_would_refuse(
    kafka: KafkaServer, make_topic: MakeTopic, compression: Compression
) -> None:
    """A flipped bit behind the CRC field: if the broker took it, our CRC would cover the wrong bytes."""
    stored = bytearray(build(from_records(AWKWARD), base_offset=0, compression=compression))
    stored[-1] ^= 1
    error, _ = produce(kafka.bootstrap, make_topic(f"flipped-{compression}"), bytes(stored))
    assert error == CORRUPT_MESSAGE


def _consume(kafka: KafkaServer, topic: str, wanted: int) -> list[Record]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Record] = []
    while len(found) < wanted:
        messages = consumer.consume(min(wanted - len(found), 10_000), timeout=30)
        assert messages, f"{len(found)} of {wanted} records came"
        for m in messages:
            assert m.error() is None
            found.append(Record(m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or []))
    consumer.close()
    return found


def _read_raw(kafka: KafkaServer, topic: str, wanted: int) -> tuple[list[Record], set[Compression]]:
    found: list[Record] = []
    codecs: set[Compression] = set()
    while len(found) < wanted:
        raw, at = fetch(kafka.bootstrap, topic, len(found)), 0
        assert raw, f"{len(found)} of {wanted} records came"
        while at < len(raw):
            header = parse_header(raw, at)
            codecs.add(header.compression)
            found.extend(records(open_batch(raw, at)))
            at += header.size_bytes
    return found, codecs
