"""Codecs over random schemas and values: two paths, one result, and nothing that comes from outside breaks them.

Method: schemas and values come from a seed that hypothesis draws; bytes come from an encoder in `avro_cases` that
shares no code with the product; fastavro is the third opinion.
"""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import fastavro
import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamflow.codecs import CodecSpec, Decoded, decoder, encoder
from streamflow.codecs.avro_fallback import decode_each
from streamflow.codecs.avrocodec import record_node
from streamflow.codecs.avrotypes import schema_from_avro, schema_to_avro
from streamflow.codecs.evolution import Resolution, check
from streamflow.codecs.recordbatch import Damaged, Record, as_read, from_records, records, scan
from streamflow.codecs.varints import encode_column, sizes_of, varint
from streamflow.model.types import ANY, polars_dtype
from streamflow.sdk.errors import SchemaError
from streamflow.sdk.log import RecordBatch
from tests.property.avro_cases import Cases, encoded, without_logical
from tests.property.columns import in_columns

__all__ = ["in_columns"]
seeds = st.integers(0, 2**32)


def case(seed: int, *, unions: bool = True) -> tuple[Cases, dict[str, Any], CodecSpec]:
    cases = Cases(seed, unions=unions)
    avro = cases.record()
    return cases, avro, CodecSpec(format="avro", schema=schema_from_avro(avro), avro=json.dumps(avro))


def some_records(cases: Cases, avro: dict[str, Any], count: int) -> list[Record]:
    keys = cases.random.choice([[None], [b"k"], [b"", b"a", b"bcd"], [None, b"x"]])
    headers = cases.random.choice([[[]], [[]], [[], [("h", None), ("h", b"1")]]])
    return [
        Record(
            i, cases.random.choice([0, 5, -(10**12), 10**12]), cases.random.choice(keys),
            encoded(avro, cases.value(avro)), cases.random.choice(headers),
        )
        for i in range(count)
    ]  # fmt: skip


def assert_same_payload(frame: pl.DataFrame, expected: pl.DataFrame) -> None:
    columns = [c for c in frame.columns if not c.startswith("@")]
    assert columns == expected.columns
    if columns:  # a frame without columns has no height
        assert_frame_equal(frame[columns], expected)


@given(seeds)
@settings(max_examples=120)
def test_columnar_and_single_decoding_agree_and_encoding_gives_the_items_back(seed: int) -> None:
    cases, avro, spec = case(seed)
    found = some_records(cases, avro, cases.random.choice([1, 2, 7, 30]))
    reader = decoder(spec, reserved=("@key", "@ts", "@headers"))
    decoded = reader.decode([as_read(from_records(found))], first_offset=0)
    assert not decoded.bad
    assert decoded.frame["@position"].to_list() == list(range(len(found)))
    for field in spec.schema.fields:
        assert decoded.frame.schema[field.name] == polars_dtype(field.type)
    alone = decode_each([r.value or b"" for r in found], record_node(spec))
    assert not alone.errors
    assert_same_payload(decoded.frame, alone.frame)

    out = encoder(spec).encode(decoded.frame)
    assert not out.bad
    (batch,) = out.batches
    back = list(records(as_read(batch)))
    assert [(r.key, r.timestamp_ms, r.headers) for r in back] == [(r.key, r.timestamp_ms, r.headers) for r in found]
    again = reader.decode([as_read(batch)], first_offset=0)
    assert_frame_equal(again.frame, decoded.frame)

    schema = fastavro.parse_schema(without_logical(copy.deepcopy(avro)))
    for ours, theirs in zip(
        back, found, strict=True
    ):  # padded decimals may differ in bytes, so nothing else is compared
        left, right = (fastavro.schemaless_reader(io.BytesIO(r.value or b""), schema) for r in (ours, theirs))
        if "decimal" not in spec.avro:
            assert repr(left) == repr(right)


@given(seeds)
def test_any_split_into_batches_gives_the_same_items(seed: int) -> None:
    cases, avro, spec = case(seed)
    found = some_records(cases, avro, 40)
    cut = cases.random.randrange(1, 40)
    whole = as_read(from_records(found), base_offset=100)
    parts = [
        as_read(from_records(found[:cut]), base_offset=100),
        as_read(from_records(found[cut:]), base_offset=100 + cut),
    ]
    first = cases.random.randrange(95, 142)
    reader = decoder(spec, reserved=("@key", "@ts", "@headers"))
    one, two = reader.decode([whole], first_offset=first), reader.decode(parts, first_offset=first)
    assert_frame_equal(one.frame, two.frame)
    assert one.end_offset == two.end_offset == max(140, first)
    assert one.frame["@position"].to_list() == list(range(max(first, 100), 140))


@given(seeds, st.integers(1, 20), st.integers(200, 5_000))
def test_batches_keep_to_their_limits_and_lose_nothing(seed: int, records_max: int, size_bytes_max: int) -> None:
    cases, avro, spec = case(seed)
    found = some_records(cases, avro, 40)
    frame = decoder(spec).decode([as_read(from_records(found))], first_offset=0).frame
    out = encoder(spec).encode(frame, records_max=records_max, size_bytes_max=size_bytes_max)
    lost = [b.row for b in out.bad]
    assert all(b.code == "too_large" for b in out.bad)
    batches, offset = [], 0
    for batch in out.batches:
        assert batch.count <= records_max
        assert len(batch.body) + 61 <= size_bytes_max
        batches.append(as_read(batch, base_offset=offset))
        offset += batch.count
    again = decoder(spec).decode(batches, first_offset=0).frame
    kept = frame.filter(~pl.Series(np.isin(np.arange(frame.height), lost)))
    assert_frame_equal(again.drop("@position"), kept.drop("@position"))


@given(seeds)
@settings(max_examples=120)
def test_damaged_records_end_in_one_place_and_by_themselves(seed: int) -> None:
    """Bit flips, overwritten bytes, truncation, noise: no exception, each offset in the frame or bad, and fastavro's
    (bounded) verdict on each record alone is the verdict in company."""
    cases, avro, spec = case(seed)
    random = cases.random
    found = some_records(cases, avro, random.choice([1, 3, 12]))
    body = bytearray(from_records(found).body)
    match random.randrange(4):
        case 0:
            body[random.randrange(len(body))] ^= 1 << random.randrange(8)
        case 1:
            for _ in range(3):
                body[random.randrange(len(body))] = random.randrange(256)
        case 2:
            del body[random.randrange(len(body)) :]
        case _:
            body[:] = random.randbytes(len(body))
    batch = RecordBatch(
        base_offset=0, last_offset=len(found) - 1, count=len(found), base_timestamp_ms=0, max_timestamp_ms=0,
        body=bytes(body),
    )  # fmt: skip
    decoded = decoder(spec).decode([batch], first_offset=0)
    assert_accounted(batch, decoded)
    single = [r for r in scan(batch) if isinstance(r, Record) and r.value is not None]
    alone = decode_each([r.value or b"" for r in single], record_node(spec))
    good = [r.offset for i, r in enumerate(single) if i not in alone.errors]
    assert decoded.frame["@position"].to_list() == good
    assert_same_payload(decoded.frame, alone.frame)


def assert_accounted(batch: RecordBatch, decoded: Decoded) -> None:
    good, bad = decoded.frame["@position"].to_list(), [b.offset for b in decoded.bad]
    assert len({*good, *bad}) == len(good) + len(bad)
    damaged = [r for r in scan(batch) if isinstance(r, Damaged)]
    if not any("lost" in d.message or "behind" in d.message for d in damaged):
        assert len(good) + len(bad) == batch.count
    assert decoded.end_offset == batch.last_offset + 1


@given(seeds)
@settings(max_examples=120)
def test_evolution_resolves_as_fastavro_does(seed: int) -> None:
    """Wide unions are left out: fastavro takes the first branch that a number could widen to, Java and we its own."""
    cases, avro, spec = case(seed, unions=False)
    reader_avro = cases.evolved(copy.deepcopy(avro))
    reader = CodecSpec(format="avro", schema=schema_from_avro(reader_avro), avro=json.dumps(reader_avro))
    raw = encoded(avro, cases.value(avro))
    written = decode_each([raw], record_node(spec)).frame
    if not written.width or not reader.schema.fields:
        return
    schemas = [fastavro.parse_schema(without_logical(copy.deepcopy(s))) for s in (avro, reader_avro)]
    try:
        frame, bad = Resolution(spec.schema, reader.schema).apply(written)
        fits = bad is None or not bad.any()
    except SchemaError:
        fits = False
    if not fits:  # bytes may be read as a string, if they are one
        assert check(spec.schema, reader.schema) or '"bytes"' in spec.avro
    try:
        expected = fastavro.schemaless_reader(io.BytesIO(raw), *schemas)
    except (fastavro.schema.SchemaParseException, fastavro.read.SchemaResolutionError, UnicodeDecodeError, ValueError):
        assert not fits
        return
    assert fits
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schemas[1], expected)
    assert_frame_equal(frame, decode_each([buffer.getvalue()], record_node(reader)).frame)


@given(seeds)
def test_schemas_survive_the_model(seed: int) -> None:
    """All but the place of null in its union, which a type does not have."""
    cases = Cases(seed)
    schema = schema_from_avro(cases.record())
    assert schema_from_avro(schema_to_avro(schema)) == schema


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
@example([2**62, -(2**62), 63, 64, -64, -65])
def test_columns_of_varints_equal_single_ones(numbers: list[int]) -> None:
    column = np.array(numbers, np.int64)
    data, sizes = encode_column(column)
    assert data.tobytes() == b"".join(varint(n) for n in numbers)
    assert np.broadcast_to(sizes, len(numbers)).tolist() == [len(varint(n)) for n in numbers]
    assert np.array_equal(np.broadcast_to(sizes_of(column), len(numbers)), np.broadcast_to(sizes, len(numbers)))


@given(seeds)
def test_json_gives_typed_items_back(seed: int) -> None:
    """All types but unions, whose plain values may fit an earlier branch; years that JSON can write."""
    cases, avro, spec = case(seed, unions=False)
    found = some_records(cases, avro, 12)
    frame = decoder(spec).decode([as_read(from_records(found))], first_offset=0).frame
    as_json = CodecSpec(format="json", schema=spec.schema)
    out = encoder(as_json).encode(frame)
    assert {b.code for b in out.bad} <= {"not_a_number", "does_not_fit"}
    kept = frame.filter(~pl.Series(np.isin(np.arange(frame.height), [b.row for b in out.bad])))
    if not out.batches:
        return
    decoded = decoder(as_json).decode([as_read(out.batches[0])], first_offset=0)
    assert not decoded.bad
    assert_frame_equal(decoded.frame.drop("@position"), kept.drop("@position"))


@given(seeds)
def test_any_json_ends_in_one_place(seed: int) -> None:
    cases, _, spec = case(seed)
    random = cases.random

    def anything(depth: int) -> Any:
        kinds = [None, True, 0, -1, 2**63, 2**64 - 1, 1e308, 0.1, "", "é", "2024-01-01", "AA==", "1e5", "\x00"]
        if depth and random.random() < 0.4:
            items = [anything(depth - 1) for _ in range(random.randrange(4))]
            return items if random.random() < 0.5 else {f"f{i}": one for i, one in enumerate(items)}
        return random.choice(kinds)

    texts = [json.dumps({f"f{i}": anything(3) for i in range(4)}).encode() for _ in range(10)]
    texts[0] = texts[0][: random.randrange(len(texts[0]))]
    texts[1] = json.dumps(anything(3)).encode()
    batch = as_read(from_records([Record(i, 0, None, text, []) for i, text in enumerate(texts)]))
    for schema in (spec.schema, ANY):
        assert_accounted(batch, decoder(CodecSpec(format="json", schema=schema)).decode([batch], first_offset=0))
