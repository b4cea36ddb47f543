"""Few records are read and written as many are: the same rows, the same bytes, and the same ones refused."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamflow.codecs import CodecSpec, Decoded, decoder, encoder, few_records, framing
from streamflow.codecs.avro_measure import MismatchError
from streamflow.codecs.avrocodec import spec_avro
from streamflow.codecs.avronodes import parse
from streamflow.codecs.avrotypes import rabin, schema_from_avro
from streamflow.codecs.recordbatch import Record, as_read, from_records
from streamflow.codecs.varints import varint
from streamflow.model.types import BYTES, STRING, record_of
from streamflow.sdk.log import NewBatch, RecordBatch
from tests.property.avro_cases import Cases
from tests.property.test_codecs import some_records

PLAIN = (
    "string", "bytes", "int", "long", "boolean", "float", "double",
    {"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "int", "logicalType": "time-millis"}, {"type": "string", "logicalType": "uuid"},
)  # fmt: skip
seeds = st.integers(0, 2**32)


def plain_case(seed: int) -> tuple[Cases, dict[str, Any], CodecSpec]:
    """A record of plain fields, nullable in either order or not, and an enum."""
    cases = Cases(seed, unions=False)
    draw = random.Random(seed)
    kinds: list[Any] = [draw.choice(PLAIN) for _ in range(draw.randrange(1, 7))]
    kinds.append({"type": "enum", "name": "E", "symbols": ["A", "B", "C"]})
    wrap = (lambda t: t, lambda t: ["null", t], lambda t: [t, "null"])
    fields = [{"name": f"f{i}", "type": draw.choice(wrap)(kind)} for i, kind in enumerate(kinds)]
    avro = {"type": "record", "name": "R", "fields": fields}
    spec = CodecSpec(format="avro", schema=schema_from_avro(avro), avro=json.dumps(avro))
    spec = replace(spec, framing="single_object") if draw.randrange(2) else spec
    return cases, avro, spec


def both(monkeypatch: pytest.MonkeyPatch, work: Any) -> tuple[Any, Any]:
    """What `work` gives one by one, and in columns."""
    one = work()
    with monkeypatch.context() as patch:
        patch.setattr(few_records, "FEW", 0)
        return one, work()


def same(one: Decoded, two: Decoded) -> None:
    assert_frame_equal(one.frame, two.frame)
    assert one.bad == two.bad
    assert one.end_offset == two.end_offset


def batches_of(cases: Cases, avro: dict[str, Any], spec: CodecSpec, count: int) -> list[RecordBatch]:
    prefix = framing.single_object_prefix(rabin(spec_avro(spec))) if spec.framing == "single_object" else b""
    found = [r._replace(value=prefix + (r.value or b"")) for r in some_records(cases, avro, count)]
    cut = cases.random.randrange(0, count)
    parts = [part for part in (found[:cut], found[cut:]) if part]
    offsets = [100, 100 + cut][-len(parts) :]
    return [as_read(from_records(part), base_offset=at) for part, at in zip(parts, offsets, strict=True)]


@given(seeds)
def test_both_ways_read_and_write_the_same(seed: int) -> None:
    cases, avro, spec = plain_case(seed)
    batches = batches_of(cases, avro, spec, cases.random.choice([1, 2, 5, 20]))
    with pytest.MonkeyPatch.context() as patch:
        one, two = both(patch, lambda: decoder(spec, reserved=("@key", "@ts")).decode(batches, first_offset=0))
        same(one, two)
        assert one.frame.height == sum(b.count for b in batches)
        ours, theirs = both(patch, lambda: encoder(spec).encode(one.frame))
        assert ours == theirs
        assert len(ours.batches) == 1


@given(seeds, st.integers(0, 3))
def test_both_ways_refuse_the_same(seed: int, how: int) -> None:
    """Bits flipped, bytes overwritten, cut off, put in."""
    cases, avro, spec = plain_case(seed)
    draw = cases.random
    (batch, *_) = batches_of(cases, avro, spec, draw.choice([1, 3, 9]))
    body, at = bytearray(batch.body), draw.randrange(len(batch.body))
    match how:
        case 0:
            body[at] ^= 1 << draw.randrange(8)
        case 1:
            body[at : at + 4] = draw.randbytes(4)
        case 2:
            del body[at:]
        case 3:
            body[at:at] = draw.randbytes(2)
    damaged = as_read(
        NewBatch(count=batch.count, body=bytes(body), base_timestamp_ms=batch.base_timestamp_ms,
                 max_timestamp_ms=batch.max_timestamp_ms), base_offset=batch.base_offset,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        same(*both(patch, lambda: decoder(spec, reserved=("@key", "@ts")).decode([damaged], first_offset=0)))


@given(seeds, st.integers(0, 2))
def test_both_ways_refuse_the_same_values(seed: int, how: int) -> None:
    """Records that are well-formed around a value that is longer, shorter, or not of its schema."""
    cases, avro, spec = plain_case(seed)
    draw = cases.random
    spec = replace(spec, framing="raw")
    found = some_records(cases, avro, draw.choice([1, 3, 9]))
    at = draw.randrange(len(found))
    value = found[at].value or b""
    match how:
        case 0:
            value += draw.randbytes(draw.choice([1, 2]))
        case 1:
            value = value[:-1]
        case 2 if value:
            value = value[: (byte := draw.randrange(len(value)))] + draw.randbytes(1) + value[byte + 1 :]
    found[at] = found[at]._replace(value=value)
    batch = as_read(from_records(found))
    with pytest.MonkeyPatch.context() as patch:
        same(*both(patch, lambda: decoder(spec, reserved=("@key", "@ts")).decode([batch], first_offset=0)))


@pytest.mark.parametrize("index", [-1, 3, 2**40])
def test_an_index_that_no_symbol_has_is_refused(index: int) -> None:
    avro = {"type": "record", "name": "R", "fields": [
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}}]}  # fmt: skip
    spec = CodecSpec(format="avro", schema=schema_from_avro(avro), avro=json.dumps(avro))
    batch = as_read(from_records([Record(i, 0, None, varint(n), []) for i, n in enumerate((0, index, 2))]))
    found = decoder(spec).decode([batch], first_offset=0)
    assert found.frame["e"].to_list() == ["A", "C"]
    assert [bad.offset for bad in found.bad] == [1]


TEXTS = ["", "a", "ä€😀", "x" * 200, None]
NUMBERS = [0, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), None]


@given(
    st.lists(
        st.tuples(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.floats(), st.booleans()), min_size=1, max_size=8
    ),
    st.sampled_from([None, "@key"]),
    st.integers(1, 9),
    st.integers(100, 2_000),
)
@example([("x" * 200, 0, 0.0, True)], None, 9, 200)
def test_limits_of_batches_are_the_same(
    rows: list[Any], key: str | None, records_max: int, size_bytes_max: int
) -> None:
    avro = {"type": "record", "name": "R", "fields": [
        {"name": "s", "type": ["null", "string"]}, {"name": "n", "type": ["long", "null"]},
        {"name": "d", "type": "double"}, {"name": "b", "type": "boolean"},
    ]}  # fmt: skip
    spec = CodecSpec(format="avro", schema=schema_from_avro(avro), avro=json.dumps(avro))
    s, n, d, b = (list(column) for column in zip(*rows, strict=True))
    frame = pl.DataFrame(
        {"s": s, "n": n, "d": d, "b": b, "@ts": list(range(len(rows)))},
        schema={"s": pl.String, "n": pl.Int64, "d": pl.Float64, "b": pl.Boolean, "@ts": pl.Int64},
    )
    if key:
        frame = frame.with_columns(pl.Series("@key", [None if t is None else t.encode() for t in s], dtype=pl.Binary))
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs = both(
            patch, lambda: encoder(spec).encode(frame, records_max=records_max, size_bytes_max=size_bytes_max)
        )
    assert ours == theirs


JSON = CodecSpec(format="json", schema=record_of({"s": STRING.optional()}))


@pytest.mark.parametrize("spec", [JSON, CodecSpec(format="bytes", schema=BYTES)])
def test_json_and_bytes_as_well(spec: CodecSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    payload: dict[str, Sequence[Any]] = (
        {"s": ["a", None, "ü"]} if spec.format == "json" else {"@item": [b"a", b"", b"b"]}
    )
    frame = pl.DataFrame({**payload, "@ts": [5, 3, 9]})
    ours, theirs = both(monkeypatch, lambda: encoder(spec).encode(frame))
    assert ours == theirs
    batches = [as_read(b) for b in ours.batches]
    same(*both(monkeypatch, lambda: decoder(spec, reserved=("@key", "@ts")).decode(batches, first_offset=0)))


@pytest.mark.parametrize("number", [b"\x80\x00", b"\x80" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\x80"])
def test_numbers_that_are_padded_or_too_long_are_left_to_others(number: bytes) -> None:
    with pytest.raises((MismatchError, IndexError)):
        few_records._number(number, 0)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_read_as_they_were_written(number: int) -> None:
    assert few_records._number(varint(number), 0) == (number, len(varint(number)))


def test_the_short_way_is_taken() -> None:
    """Method: a schema that it does not take and one that it does."""
    plain = parse({"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]})
    nested = parse(
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "long"}}]}
    )
    assert few_records.readable(plain)
    assert not few_records.readable(nested)
    assert few_records.writable(plain)
