"""Kernels that nodes share: keys, paths, kept rows, messages."""

from __future__ import annotations

import struct
from decimal import Decimal

import polars as pl
import pytest

from streamflow.model.batch import PATH, ROW, Batch
from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    INT,
    LONG,
    STRING,
    TIMESTAMP_MS,
    Type,
    polars_dtype,
    record_of,
)
from streamflow.nodes.sequence import in_sequence
from streamflow.operators.errors import failed_rows, label, without
from streamflow.operators.execution_rows import ExecutionRows
from streamflow.operators.explode import child_index, extend_path, index_bytes, take
from streamflow.operators.keys import key_bytes
from streamflow.sdk.expression import Expression
from streamflow.testing.operator_kit import FakeStore


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        (STRING, "é", "é".encode()),
        (BYTES, b"\0\xff", b"\0\xff"),
        (LONG, -12, b"-12"),
        (INT, 7, b"7"),
        (BOOL, True, b"true"),
        (DOUBLE, 1.0, b"1.0"),
        (DATE, pl.Series([19844]).cast(pl.Date)[0], b"2024-05-01"),
        (TIMESTAMP_MS, pl.Series([1_700_000_000_123]).cast(pl.Datetime("ms", "UTC"))[0], b"1700000000123"),
        (Type(kind="decimal", precision=10, scale=2), Decimal("1.50"), b"1.50"),
        (ANY, b'"text"', b"text"),
        (ANY, b'"a\\"b"', b'a"b'),
        (ANY, b"12", b"12"),
        (ANY, b"null", None),
        (STRING, None, None),
    ],
)
def test_keys_have_one_spelling_per_type(kind: Type, value: object, key: bytes | None) -> None:
    assert key_bytes(pl.Series([value], dtype=polars_dtype(kind)), kind).to_list() == [key]


def test_paths_of_children_sort_as_a_walk() -> None:
    frame = pl.DataFrame({PATH: [b"", b"\0\0\0\1"]}, schema={PATH: pl.Binary()})
    children = take(frame, [2, 1])
    assert children[PATH].to_list() == [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\1\0\0\0\0"]
    assert children[PATH].is_sorted()
    assert take(frame, [1, 1], extend=[False, True])[PATH].to_list() == [b"", b"\0\0\0\1\0\0\0\0"]
    assert index_bytes(pl.Series([300, 0]))[0] == struct.pack(">I", 300)
    assert child_index(pl.Series([2, 0, 3])).to_list() == [0, 1, 0, 1, 2]
    assert extend_path(frame.drop(PATH), pl.Series([], dtype=pl.Int64)).columns == []


def test_kept_rows_come_back_in_order_and_once() -> None:
    store = FakeStore()
    rows = ExecutionRows(store)
    for n in range(300):
        rows.add("a", pl.DataFrame({"n": [n]}))
        rows.add("ab", pl.DataFrame({"n": [-n]}))
    assert rows.count("a") == 300
    found = rows.take("a")
    assert found is not None
    assert found["n"].to_list() == list(range(300))
    assert rows.take("a") is None
    assert rows.count("ab") == 300


def test_messages_name_the_first_expression_that_failed() -> None:
    batch = Batch(pl.DataFrame({"x": [1, 2, 3], ROW: pl.Series([0, 1, 2], dtype=pl.UInt32)}), record_of({"x": LONG}))
    errors = {"b": pl.Series([0, 2, 2], dtype=pl.UInt8), "a": pl.Series([0, 0, 1], dtype=pl.UInt8)}
    failed = failed_rows(batch, errors, {"a": "fields.a (x + 1)", "b": "fields.b (1 / x)"}).frame
    assert failed["@error_code"].to_list() == ["division_by_zero", "overflow"]
    assert failed["@error_message"][1] == "fields.a (x + 1): integer result does not fit 64 bits"
    fine, apart = without(batch, {1: ("code", "text")})
    assert fine.frame["x"].to_list() == [1, 3]
    assert apart is not None
    assert apart.frame["x"].to_list() == [2]


def test_long_expressions_are_shortened_in_messages() -> None:
    assert len(label("when", Expression("x + " * 100))) < 140


def test_fields_may_name_earlier_ones_but_not_in_texts_or_members() -> None:
    fields = {"a": "x + 1", "b": "a * 2 + item.a + len('a') + a(1) + nodes.a.a", "c": "{{ b }}"}
    done = in_sequence({n: Expression(t) for n, t in fields.items()})
    assert done["b"].text == "(x + 1) * 2 + item.a + len('a') + a(1) + nodes.a.a"
    assert done["c"].text == f"{{{{ ({done['b'].text}) }}}}"
