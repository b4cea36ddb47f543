"""JSON values: forms of every type, both ways, and rows that do not fit."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from streamflow.codecs import CodecSpec, Decoded, decoder, encoder
from streamflow.codecs.recordbatch import Record, as_read, from_records, records
from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LOCAL_US,
    LONG,
    STRING,
    TIME_MS,
    TIMESTAMP_MS,
    TIMESTAMP_US,
    UUID,
    Field,
    Type,
    array_of,
    map_of,
    record_of,
)  # fmt: skip


def union_of(*branches: Type) -> Type:
    return Type(kind="union", branches=branches)


DECIMAL = Type(kind="decimal", precision=6, scale=2)
ENUM = Type(kind="enum", name="E", symbols=("A", "B"))
FIXED = Type(kind="fixed", name="F", size_bytes=2)
ID = "123e4567-e89b-12d3-a456-426614174000"


def decode(schema: Type, *values: Any) -> Decoded:
    found = [
        Record(i, 0, None, v if isinstance(v, bytes) else json.dumps(v).encode(), []) for i, v in enumerate(values)
    ]
    spec = CodecSpec(format="json", schema=schema)
    return decoder(spec, reserved=()).decode([as_read(from_records(found))], first_offset=0)


@pytest.mark.parametrize(
    ("type_", "form"),
    [
        (BOOL, True), (INT, -5), (LONG, 2**63 - 1), (FLOAT, 0.1), (DOUBLE, 1e300), (STRING, "é\n\u0000"), (ENUM, "B"),
        (UUID, ID), (BYTES, "AAH/"), (FIXED, "AAE="), (DATE, "2024-02-29"), (TIME_MS, "12:30:00.500"),
        (TIMESTAMP_MS, "1969-12-31T23:59:59.999Z"), (TIMESTAMP_US, "2024-02-29T00:00:00.000001Z"),
        (LOCAL_US, "2024-02-29T00:00:00.000001"), (DECIMAL, "-1234.50"), (array_of(INT.optional()), [1, None, 2]),
        (array_of(array_of(STRING)), [["a"], [], ["b", "c"]]), (map_of(DOUBLE), {"a": 1.5, "b": -2.0}),
        (record_of({"x": INT, "y": array_of(DATE)}), {"x": 1, "y": ["2024-01-01"]}),
        (union_of(LONG, STRING), "text"), (union_of(LONG, STRING), 5), (ANY, {"deep": [1, {"x": None}]}),
        (map_of(map_of(LONG)), {"a": {"b": 1}, "c": {}}),
    ],
)  # fmt: skip
def test_each_type_has_one_form(type_: Type, form: Any) -> None:
    schema = record_of({"v": type_, "n": type_.optional()})
    decoded = decode(schema, {"v": form, "n": None}, {"v": form, "n": form}, {"v": form})
    assert not decoded.bad
    if type_.kind != "any":
        assert decoded.frame["n"].is_null().to_list() == [True, False, True]
    spec = CodecSpec(format="json", schema=schema)
    (batch,) = encoder(spec).encode(decoded.frame).batches
    back = [json.loads(r.value or b"") for r in records(as_read(batch))]
    assert back == [{"v": form, "n": None}, {"v": form, "n": form}, {"v": form, "n": None}]


@pytest.mark.parametrize(
    ("type_", "form"),
    [
        (BOOL, 1), (INT, 2**31), (LONG, 1.5), (LONG, 2**63), (LONG, True), (STRING, 5), (ENUM, "C"), (UUID, "x"),
        (BYTES, "?"), (FIXED, "AA=="), (DATE, "2024-02-30"), (TIME_MS, "25:00:00"), (TIMESTAMP_MS, "yesterday"),
        (DECIMAL, "1.005"), (DECIMAL, "12345"), (DECIMAL, "NaN"), (DECIMAL, "1e999999999"), (array_of(INT), {"a": 1}),
        (array_of(INT), [1, "2"]), (array_of(INT), [None]), (map_of(INT), [1]), (record_of({"x": INT}), {"x": "1"}),
        (record_of({"x": INT}), {}), (union_of(LONG, STRING), [1]), (LONG, None),
    ],
)  # fmt: skip
def test_another_form_makes_the_row_bad_and_only_it(type_: Type, form: Any) -> None:
    schema = record_of({"v": type_.required(), "ok": LONG})
    good = {"v": None, "ok": 1}
    decoded = decode(record_of({"v": type_.optional(), "ok": LONG}), good, {"v": form, "ok": 2}, good)
    expected = [0, 1, 2] if form is None else [0, 2]
    assert decoded.frame["@position"].to_list() == expected
    (bad,) = decode(schema, {"v": form, "ok": 2}).bad
    assert bad.code == "schema_mismatch"
    assert "'v'" in bad.message or "'x'" in bad.message


def test_what_is_no_json_is_undecodable() -> None:
    decoded = decode(record_of({"a": LONG}), {"a": 1}, b"{", b"", b"\xff", [1], {"a": 1, "more": 2})
    assert decoded.frame["a"].to_list() == [1, 1]
    assert [(b.offset, b.code) for b in decoded.bad] == [
        (1, "undecodable"), (2, "undecodable"), (3, "undecodable"), (4, "schema_mismatch"),
    ]  # fmt: skip
    untyped = decode(ANY, {"a": 1}, b"{", b" [1]", b"1 2")
    assert untyped.frame["@item"].to_list() == [b'{"a": 1}', b" [1]"]
    assert [b.offset for b in untyped.bad] == [1, 3]


def test_a_missing_field_takes_its_default() -> None:
    schema = Type(
        kind="record", fields=(Field(name="a", type=LONG, default=7, has_default=True), Field(name="b", type=LONG))
    )
    decoded = decode(schema, {"b": 1}, {"a": 2, "b": 1}, {"a": None, "b": 1}, {"a": 1})
    assert decoded.frame["a"].to_list() == [7, 2]
    assert [b.message for b in decoded.bad] == ["field 'a': is null, expected long", "field 'b': is missing"]


def test_numbers_are_times_too() -> None:
    decoded = decode(record_of({"t": TIMESTAMP_MS}), {"t": 0}, {"t": "1970-01-01T01:00:00+01:00"})
    assert decoded.frame["t"].cast(pl.Int64).to_list() == [0, 0]


def test_json_cannot_say_nan() -> None:
    schema = record_of({"a": DOUBLE, "b": array_of(FLOAT)})
    items = pl.DataFrame({"a": [1.0, float("nan"), 2.0], "b": [[1.0], [], [float("inf")]]}).cast(
        {"b": pl.List(pl.Float32)}
    )
    out = encoder(CodecSpec(format="json", schema=schema)).encode(items)
    assert [(b.row, b.code) for b in out.bad] == [(1, "not_a_number"), (2, "not_a_number")]
    assert out.batches[0].count == 1
