"""What the runtime relies on: positions, bad records with their bytes, markers, framing, bad rows of a frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from streamflow.codecs import CodecSpec, decoder, encode_marker, encoder
from streamflow.codecs.avrotypes import rabin, schema_from_avro, schema_to_avro
from streamflow.codecs.recordbatch import Record, as_read, from_records, records
from streamflow.codecs.registry import FileRegistry
from streamflow.model.types import ANY, BYTES, INT, LONG, STRING, TIMESTAMP_MS, Type, record_of
from streamflow.sdk.errors import SchemaError
from streamflow.sdk.log import RecordBatch
from tests.property.columns import both_ways

__all__ = ["both_ways"]

ORDER = record_of({"id": STRING, "qty": LONG, "note": STRING.optional()}, name="shop.Order")
SPEC = CodecSpec(format="avro", schema=ORDER, name="shop.Order")


def frame(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"o-{i}" for i in range(count)],
            "qty": pl.Series(range(count), dtype=pl.Int64),
            "note": pl.Series([None if i % 3 else "x" * i for i in range(count)], dtype=pl.String),
            "@key": pl.Series([b"k%d" % i for i in range(count)], dtype=pl.Binary),
            "@ts": pl.Series([1_000 + i for i in range(count)], dtype=pl.Int64),
        }
    )


def batches(items: pl.DataFrame, spec: CodecSpec = SPEC, records_max: int = 30_000) -> list[RecordBatch]:
    out, offset = [], 0
    for batch in encoder(spec).encode(items, records_max=records_max).batches:
        out.append(as_read(batch, base_offset=offset))
        offset += batch.count
    return out


def values(found: Sequence[RecordBatch]) -> list[Record]:
    return [r for batch in found for r in records(batch)]


def test_items_go_out_and_come_back() -> None:
    decoded = decoder(SPEC).decode(batches(frame(100), records_max=30), first_offset=0)
    assert decoded.frame.drop("@position").equals(frame(100))
    assert decoded.frame["@position"].to_list() == list(range(100))
    assert decoded.end_offset == 100


def test_reading_begins_where_it_is_told() -> None:
    decoded = decoder(SPEC).decode(batches(frame(100), records_max=30), first_offset=45)
    assert decoded.frame["@position"].to_list() == list(range(45, 100))
    nothing = decoder(SPEC).decode([], first_offset=45)
    assert (nothing.frame.height, nothing.end_offset) == (0, 45)
    assert nothing.frame.schema == decoded.frame.schema


def test_only_wanted_columns_arrive() -> None:
    decoded = decoder(SPEC, reserved=("@ts",), columns=("qty",)).decode(batches(frame(3)), first_offset=0)
    assert decoded.frame.columns == ["qty", "@position", "@ts"]


def test_bad_records_are_told_apart_and_keep_their_bytes() -> None:
    good = values(batches(frame(6)))
    mixed = [
        good[0],
        good[1]._replace(value=good[1].value[:-1] if good[1].value else None, headers=[("trace", b"1")]),
        good[2]._replace(value=None),
        good[3]._replace(key=None),
        good[4]._replace(value=b"\xff" * 30),
        good[5],
    ]
    decoded = decoder(SPEC).decode([as_read(from_records(mixed), base_offset=10)], first_offset=0)
    assert decoded.frame["@position"].to_list() == [10, 13, 15]
    assert decoded.frame["@key"].to_list() == [b"k0", None, b"k5"]
    assert [(b.offset, b.code) for b in decoded.bad] == [(11, "undecodable"), (12, "tombstone"), (14, "undecodable")]
    first = decoded.bad[0]
    assert (first.timestamp_ms, first.key, first.value, first.headers) == (
        1_001,
        b"k1",
        mixed[1].value,
        [("trace", b"1")],
    )


def test_one_bad_record_costs_its_neighbours_nothing_but_time() -> None:
    good = values(batches(frame(5_000)))
    mixed = [r._replace(value=b"\xff") if r.offset in (7, 3_333) else r for r in good]
    decoded = decoder(SPEC).decode([as_read(from_records(mixed))], first_offset=0)
    assert [b.offset for b in decoded.bad] == [7, 3_333]
    expected = frame(5_000).filter(~pl.col("qty").is_in([7, 3_333]))
    assert decoded.frame.drop("@position").equals(expected)


def test_headers_come_back_in_order() -> None:
    headers = [[{"key": "a", "value": b"1"}, {"key": "a", "value": None}], [], None]
    items = frame(3).with_columns(
        pl.Series("@headers", headers, dtype=pl.List(pl.Struct({"key": pl.String, "value": pl.Binary})))
    )
    found = batches(items)
    assert [r.headers for r in values(found)] == [[("a", b"1"), ("a", None)], [], []]
    decoded = decoder(SPEC, reserved=("@headers",)).decode(found, first_offset=0)
    assert decoded.frame["@headers"].to_list() == [headers[0], [], []]


def test_markers_are_no_items() -> None:
    found = [
        *batches(frame(3)),
        as_read(encode_marker("watermark", b'{"wm":5}', 77), base_offset=3),
        as_read(from_records([values(batches(frame(1)))[0]]), base_offset=4),
    ]
    decoded = decoder(SPEC, markers=True).decode(found, first_offset=0)
    assert decoded.frame["@position"].to_list() == [0, 1, 2, 4]
    (marker,) = decoded.markers
    assert (marker.offset, marker.timestamp_ms, marker.type, marker.value) == (3, 77, "watermark", b'{"wm":5}')
    assert not decoder(SPEC, markers=True).decode(found, first_offset=4).markers


def test_what_looks_like_a_marker_on_a_users_topic_is_an_item() -> None:
    (value,) = (r.value for r in values(batches(frame(1))))
    lone = as_read(encode_marker("watermark", value or b"", 77), base_offset=0)
    decoded = decoder(SPEC).decode([lone], first_offset=0)
    assert (decoded.frame.height, decoded.bad, decoded.markers) == (1, [], [])
    (marker,) = decoder(SPEC, markers=True).decode([lone], first_offset=0).markers
    assert marker.type == "watermark"


def test_compacted_batches_have_gaps() -> None:
    batch = batches(frame(5))[0]
    gap = from_records([r for r in records(batch) if r.offset != 2])
    body = gap.body
    moved = as_read(gap)  # deltas 0..3; a compacted batch would keep 0, 1, 3, 4
    items = [r._replace(offset=r.offset) for r in records(moved)]
    assert len(items) == 4
    wide = RecordBatch(base_offset=0, last_offset=9, count=4, base_timestamp_ms=0, max_timestamp_ms=0, body=body)
    decoded = decoder(SPEC).decode([wide], first_offset=0)
    assert decoded.frame["@position"].to_list() == [0, 1, 2, 3]
    assert decoded.end_offset == 10


def test_rows_that_do_not_fit_are_left_out_with_a_reason() -> None:
    schema = record_of({"n": INT, "e": Type(kind="enum", symbols=("A", "B"), name="E"), "t": TIMESTAMP_MS}, name="R")
    items = pl.DataFrame(
        {
            "n": [1, 2**40, 3, None],
            "e": ["A", "B", "C", "A"],
            "t": pl.Series([1, 2, 3, 4]).cast(pl.Datetime("ms", "UTC")),
        }
    )
    out = encoder(CodecSpec(format="avro", schema=schema)).encode(items)
    assert [(b.row, b.code) for b in out.bad] == [(1, "does_not_fit"), (2, "unknown_symbol"), (3, "null_value")]
    assert out.batches[0].count == 1
    assert "'e'" in out.bad[1].message


def test_a_record_above_the_topics_limit_is_left_out() -> None:
    items = frame(3).with_columns(id=pl.Series(["a", "b" * 5_000, "c"]))
    out = encoder(SPEC).encode(items, size_bytes_max=2_000)
    assert [(b.row, b.code) for b in out.bad] == [(1, "too_large")]
    assert sum(b.count for b in out.batches) == 2


def test_confluent_framing_reads_what_older_writers_wrote(tmp_path: Path) -> None:
    """Several schema ids in one batch; each row by its own writer, in offset order."""
    registry = FileRegistry(tmp_path)
    old = CodecSpec(format="avro", framing="confluent", subject="orders-value", name="shop.Order",
                    schema=record_of({"id": STRING, "qty": INT}))  # fmt: skip
    avro = json.loads(json.dumps(schema_to_avro(record_of({"id": STRING, "qty": LONG}, name="shop.Order"))))
    avro["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
    new = CodecSpec(format="avro", framing="confluent", subject="orders-value", schema=schema_from_avro(avro))
    first = encoder(old, registry=registry).encode(frame(3).select("id", pl.col("qty").cast(pl.Int32)))
    second = encoder(new, registry=registry).encode(frame(3))
    one, two = (list(records(as_read(out.batches[0]))) for out in (first, second))
    assert [(r.value or b"")[:5] for r in (one[0], two[0])] == [b"\0\0\0\0\1", b"\0\0\0\0\2"]
    unknown = one[0]._replace(value=b"\0\0\0\0\x09abc")
    bare = one[0]._replace(value=b"abc")
    mixed = [one[0], two[1], one[2], unknown, two[0], bare]
    decoded = decoder(new, registry=registry).decode([as_read(from_records(mixed))], first_offset=0)
    assert decoded.frame["@position"].to_list() == [0, 1, 2, 4]
    assert decoded.frame["qty"].to_list() == [0, 1, 2, 0]
    assert decoded.frame["note"].to_list() == [None, None, None, ""]
    assert [(b.offset, b.code) for b in decoded.bad] == [(3, "schema_mismatch"), (5, "undecodable")]
    pure = decoder(new, registry=registry).decode([as_read(first.batches[0])], first_offset=0)
    assert pure.frame["qty"].to_list() == [0, 1, 2]


def test_single_object_framing_names_the_schema_by_its_fingerprint() -> None:
    spec = CodecSpec(format="avro", framing="single_object", schema=ORDER, name="shop.Order")
    found = batches(frame(5), spec)
    prefix = b"\xc3\x01" + rabin(schema_to_avro(ORDER, name="shop.Order"))
    assert all((r.value or b"").startswith(prefix) for r in values(found))
    assert decoder(spec).decode(found, first_offset=0).frame["id"].to_list() == [f"o-{i}" for i in range(5)]
    other = CodecSpec(format="avro", framing="single_object", schema=ORDER, name="shop.Other")
    assert [b.code for b in decoder(other).decode(found, first_offset=0).bad] == ["schema_mismatch"] * 5


def test_the_owners_schema_says_where_null_stands() -> None:
    avro = {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["long", "null"]}]}
    schema = schema_from_avro(avro)
    items = pl.DataFrame({"a": [1, None]})
    found = batches(items, CodecSpec(format="avro", schema=schema, avro=json.dumps(avro)))
    assert [r.value for r in values(found)] == [b"\x00\x02", b"\x02"]
    assert [r.value for r in values(batches(items, CodecSpec(format="avro", schema=schema)))] == [b"\x02\x02", b"\x00"]


@pytest.mark.parametrize("format", ["bytes", "json", "avro"])
def test_items_that_are_no_records_are_one_column(format: str) -> None:
    schema = BYTES if format == "bytes" else ANY
    spec = CodecSpec(format=format, schema=schema)  # type: ignore[arg-type]
    items = pl.DataFrame({"@item": [b'{"a":1}', b"[]"], "@key": [b"a", None]})
    decoded = decoder(spec, reserved=("@key",)).decode(batches(items, spec), first_offset=0)
    assert decoded.frame.drop("@position").equals(items)


def test_null_is_an_item_only_where_the_schema_says_so() -> None:
    items = pl.DataFrame({"@item": pl.Series([b"a", None], dtype=pl.Binary)})
    strict = encoder(CodecSpec(format="bytes", schema=BYTES)).encode(items)
    assert [(b.row, b.code) for b in strict.bad] == [(1, "null_value")]
    spec = CodecSpec(format="bytes", schema=BYTES.optional())
    found = batches(items, spec)
    assert [r.value for r in values(found)] == [b"a", None]
    assert decoder(spec).decode(found, first_offset=0).frame["@item"].to_list() == [b"a", None]
    assert [b.code for b in decoder(CodecSpec(format="bytes", schema=BYTES)).decode(found, first_offset=0).bad] == [
        "tombstone"
    ]


def test_items_must_be_records_or_opaque() -> None:
    with pytest.raises(SchemaError, match="items are records"):
        decoder(CodecSpec(format="avro", schema=LONG))
    with pytest.raises(SchemaError, match="registry"):
        encoder(CodecSpec(format="avro", framing="confluent", schema=ORDER))
