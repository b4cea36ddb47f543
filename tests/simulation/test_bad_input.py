"""Bad records do not stop a workflow: they are dead letters, byte for byte, and the rest goes on."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import fastavro

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.deadletter import DeadLetter, decode_dead_letters
from streamflow.sdk.log import TopicSpec
from tests.simulation.running import compiled, run, send, values, with_log

SCHEMA = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "sensor", "type": "string"},
        {"name": "value", "type": "long"},
        {"name": "tags", "type": {"type": "array", "items": "null"}},
    ],
}
AVRO = """\
workflow: readings
nodes:
  readings: {type: event, topic: in, schema: reading.avsc}
  scaled: {type: set, fields: {share: 1000 // value, tags: null}}
  out: {type: publish, topic: out, format: json}
connections:
  - readings -> scaled -> out
"""
UNTYPED = """\
workflow: untyped
nodes:
  things: {type: event, topic: in, format: json}
  scaled: {type: set, fields: {share: 1000 // value, name: upper(name)}}
  out: {type: publish, topic: out, format: json}
connections:
  - things -> scaled -> out
"""


def avro(value: int) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, SCHEMA, {"sensor": f"s{value}", "value": value, "tags": []})
    return buffer.getvalue()


# A declared array of a billion nulls in five bytes; a length beyond the end; random bytes; nothing at all; no value.
HOSTILE = [
    b"\x02s\x02" + b"\x80\xa8\xd6\xb9\x07" + b"\x00",
    b"\xfe\xff\xff\xff\x0fabc",
    bytes(range(256)) * 4,
    b"",
    None,
]


def test_undecodable_avro_records_are_dead_letters_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "reading.avsc").write_text(json.dumps(SCHEMA))
    topology = compiled(AVRO, tmp_path)
    good = [avro(n) for n in (1, 2, 3, 4, 5, 0, 7)]
    stream: list[bytes | None] = [v for pair in zip(good, [*HOSTILE, b"\xff"], strict=False) for v in pair] + good[6:]

    async def once(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="in", partitions=1))
        producer = await log.producer("test")
        await producer.begin()
        records = [Record(0, 1_000 + i, b"k", v, [("trace", b"t")]) for i, v in enumerate(stream)]
        await producer.append(TopicPartition("in", 0), [from_records(records)])
        await producer.commit()
        report = await run(topology, log)
        assert report.halted is None
        assert [v["sensor"] for v in await values(log, "out")] == ["s1", "s2", "s3", "s4", "s5", "s7"]
        letters = await dead(log, "readings.dead-letter")
        by_offset = {letter.offset: letter for letter in letters}
        bad = [i for i, v in enumerate(stream) if v not in good or v == avro(0)]
        assert sorted(by_offset) == bad
        for offset, letter in by_offset.items():
            assert (letter.topic, letter.partition, letter.key) == ("in", 0, b"k")
            assert letter.value == stream[offset], "the original bytes are kept"
            assert letter.headers == (("trace", b"t"),)
            assert letter.timestamp_ms == 1_000 + offset
        assert by_offset[stream.index(avro(0))].code == "division_by_zero"
        assert by_offset[stream.index(avro(0))].node == "scaled"
        assert {by_offset[i].node for i in bad if stream[i] != avro(0)} == {"readings"}

    asyncio.run(with_log(tmp_path / "log", once))


def test_poison_items_and_bytes_that_are_no_json_are_dead_letters(tmp_path: Path) -> None:
    topology = compiled(UNTYPED, tmp_path)
    stream: list[object] = [
        {"value": 10, "name": "ok"},
        b"no json",
        {"value": "ten", "name": "wrong type"},
        {"value": 2**70, "name": "too large"},
        {"value": 0, "name": "zero"},
        {"value": 20, "name": 7},
        [1, 2, 3],
        {"value": 40, "name": "fine"},
        b"\xff\xfe",
        b'{"value": 1, "name": "cut',
        b"[" * 100_000,
    ]

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", stream, batch=3)
        report = await run(topology, log)
        assert report.halted is None
        assert [v["name"] for v in await values(log, "out") if v["name"] in ("OK", "FINE")] == ["OK", "FINE"]
        letters = await dead(log, "untyped.dead-letter")
        assert {letter.offset for letter in letters} >= {1, 2, 4, 8, 9, 10}
        assert len(letters) + len(await values(log, "out")) == len(stream)

    asyncio.run(with_log(tmp_path / "log", once))


async def dead(log: EmbeddedLog, topic: str) -> list[DeadLetter]:
    return decode_dead_letters(await log.read(TopicPartition(topic, 0), 0, size_bytes_max=64 << 20))
