"""Schemas of wires that meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.compiler.unify import Conflict, unify, unify_all
from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    STRING,
    TIMESTAMP_MS,
    TIMESTAMP_US,
    UUID,
    Type,
    array_of,
    map_of,
    record_of,
)

ENUM = Type(kind="enum", name="E", symbols=("a", "b"))


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        (INT, LONG, LONG),
        (INT, FLOAT, DOUBLE),
        (FLOAT, FLOAT, FLOAT),
        (LONG, DOUBLE.optional(), DOUBLE.optional()),
        (NULL, BOOL, BOOL.optional()),
        (STRING, UUID, STRING),
        (ENUM, ENUM, ENUM),
        (ENUM, replace(ENUM, symbols=("a",)), STRING),
        (TIMESTAMP_MS, TIMESTAMP_US, TIMESTAMP_US),
        (array_of(INT), array_of(LONG), array_of(LONG)),
        (map_of(INT), map_of(NULL), map_of(INT.optional())),
        (Type(kind="fixed", name="f", size_bytes=2), BYTES, BYTES),
        (record_of({"x": INT}), record_of({"x": LONG}), record_of({"x": LONG})),
    ],
)
def test_fields_widen(left: Type, right: Type, joined: Type) -> None:
    assert unify(record_of({"f": left}), record_of({"f": right}), lenient=False) == record_of({"f": joined})
    assert unify(record_of({"f": right}), record_of({"f": left}), lenient=False) == record_of({"f": joined})


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        (INT, STRING, "f"),
        (DATE, TIMESTAMP_MS, "f"),
        (array_of(INT), array_of(STRING), "f[]"),
        (record_of({"x": INT}), record_of({"x": BOOL}), "f.x"),
        (record_of({"x": INT}), record_of({"x": INT, "y": INT}), "f.y"),
        (ANY, INT, "f"),
    ],
)
@pytest.mark.parametrize("lenient", [True, False])
def test_what_does_not_fit_is_named(left: Type, right: Type, path: str, lenient: bool) -> None:
    found = unify(record_of({"f": left}), record_of({"f": right}), lenient=lenient)
    assert isinstance(found, Conflict)
    assert found.path == path


def test_a_merge_fills_missing_fields_with_null() -> None:
    left, right = record_of({"a": INT, "b": INT}), record_of({"b": LONG, "c": STRING})
    assert isinstance(unify(left, right, lenient=False), Conflict)
    assert unify(left, right, lenient=True) == record_of({"a": INT.optional(), "b": LONG, "c": STRING.optional()})
    assert unify(left, ANY, lenient=True) == ANY


def test_the_wire_that_does_not_fit_is_told() -> None:
    number, text = record_of({"a": INT}), record_of({"a": STRING})
    found = unify_all([number, number, text], lenient=False)
    assert isinstance(found, tuple)
    assert found[0] == 2


KINDS = st.sampled_from([INT, LONG, FLOAT, DOUBLE, STRING, UUID, BOOL, DATE, BYTES, ANY])
TYPES = st.builds(lambda t, n: t.optional() if n else t, KINDS, st.booleans())
RECORDS = st.dictionaries(st.sampled_from("abcd"), TYPES, min_size=1).map(record_of)


@given(RECORDS)
def test_a_schema_fits_itself(schema: Type) -> None:
    assert unify(schema, schema, lenient=False) == schema


@given(RECORDS, RECORDS)
def test_the_order_of_wires_changes_no_type(left: Type, right: Type) -> None:
    one, other = unify(left, right, lenient=True), unify(right, left, lenient=True)
    assert isinstance(one, Conflict) == isinstance(other, Conflict)
    if isinstance(one, Type) and isinstance(other, Type):
        assert {f.name: f.type for f in one.fields} == {f.name: f.type for f in other.fields}
        assert unify(one, left, lenient=True) == one
