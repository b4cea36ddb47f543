"""What a function is given and what it returned become the same by the short ways and by the long ones."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow.model.batch import Batch
from streamflow.model.types import BOOL, DOUBLE, INT, LONG, STRING, record_of
from streamflow.operators import functions
from streamflow.operators.functions import ItemFunction
from streamflow.operators.plain_rows import PlainRows
from streamflow.operators.values import flat_dicts
from streamflow.sdk.operator import Result
from streamflow.testing.operator_kit import KitContext

SCHEMA = record_of(
    {"s": STRING, "l": LONG, "i": INT.optional(), "d": DOUBLE, "b": BOOL.optional(), "n": DOUBLE.optional()}
)
NAMES = [f.name for f in SCHEMA.fields]


class Key(enum.StrEnum):
    """A key that equals a text and is of another type."""

    s = "s"


class Text(str):
    """A text of another type."""


class _NeverShort(PlainRows):
    def row(self, returned: Any) -> None:
        return None


plain = st.fixed_dictionaries(
    {
        "s": st.text(max_size=4),
        "l": st.integers(-(2**63), 2**63 - 1),
        "i": st.none() | st.integers(-(2**31), 2**31 - 1),
        "d": st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
        "n": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    }
)
odd = st.sampled_from(
    [
        None, 1, 1.5, -0.0, True, "x", "", "\ud800", "\x00é", Text("t"), Key.s, float("nan"), float("inf"), 2**31,
        -(2**31) - 1, 2**63, 2**64, -(2**63) - 1, Decimal("1.5"), date(2024, 1, 1), b"y", [1], {"z": 1}, object(),
    ]
)  # fmt: skip
changes = st.dictionaries(st.sampled_from([*NAMES, "more", Key.s]), odd, max_size=2)
dicts = st.builds(lambda d, c: d | c, plain, changes) | plain
missing = st.builds(lambda d, n: {k: v for k, v in d.items() if k not in n}, plain, st.sets(st.sampled_from(NAMES)))
turned = plain.map(lambda d: dict(reversed(d.items())))
results = st.one_of(plain, plain, dicts, missing, turned, st.none(), st.lists(plain | dicts, max_size=3), odd)


def said(result: Result) -> tuple[Any, Any, int]:
    """A result to compare: frames by their reprs of rows and types, since NaN is not equal to itself."""
    out = result.outputs.get("out")
    return (
        None if out is None else (out.frame.schema, repr(out.frame.rows())),
        None if result.failed is None else repr(result.failed.frame.rows()),
        result.filtered,
    )


def run(returned: list[Any], *, short: bool, wrap: Callable[[Any], Any] = lambda r: r) -> tuple[Any, Any, int]:
    rows = pl.DataFrame(
        {"at": pl.int_range(len(returned), eager=True), "@row": pl.int_range(len(returned), eager=True)},
        schema_overrides={"@row": pl.UInt64},
    ).with_columns(pl.lit(b"p").alias("@path"))
    batch = Batch(rows, record_of({"at": LONG}))
    operator = ItemFunction(lambda item: wrap(returned[item["at"]]), SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        if not short:
            patch.setattr(functions, "PlainRows", _NeverShort)
        return said(operator.process({"in": batch}, KitContext()))


ONE = {"s": "a", "l": 1, "i": 2, "d": 0.5, "b": True, "n": None}


@given(st.lists(results, min_size=1, max_size=6))
@example([ONE, ONE | {"s": "\ud800"}])
@example([ONE, ONE | {"d": float("nan")}])
@example([ONE, ONE | {"n": float("inf")}])
@example([ONE, ONE | {"i": 2**31}])
@example([ONE, ONE | {"l": 2**64}])
@example([ONE, {Key.s: "k"} | {k: v for k, v in ONE.items() if k != "s"}])
@example([ONE, [ONE, 1], [ONE], [], None])
@example([None, None])
def test_both_ways_give_the_same(returned: list[Any]) -> None:
    assert run(returned, short=True) == run(returned, short=False)


@given(st.lists(plain, min_size=1, max_size=6))
def test_a_function_may_return_one_dict_again_and_again(returned: list[dict[str, Any]]) -> None:
    """Method: the function fills the same dict for each item; what it held at each return counts."""

    def filled(shared: dict[str, Any]) -> Callable[[Any], Any]:
        def fill(values: dict[str, Any]) -> dict[str, Any]:
            shared.update(values)
            return shared

        return fill

    assert run(returned, short=True, wrap=filled({})) == run(returned, short=False)


def test_plain_dicts_go_the_short_way() -> None:
    rows = PlainRows(SCHEMA)
    taken = [rows.row(ONE), rows.row(ONE | {"b": None})]
    assert None not in taken
    columns = rows.columns([t for t in taken if t is not None])
    assert columns is not None
    assert columns.to_dicts() == [ONE, ONE | {"b": None}]


COLUMNS = {
    "a": (pl.String(), st.text()), "it's \"b\" {x}\n": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "class": (pl.Int32(), st.integers(-(2**31), 2**31 - 1)), "d": (pl.Float64(), st.floats(allow_nan=False)),
    "é": (pl.Float32(), st.floats(allow_nan=False, width=32)), "": (pl.Boolean(), st.booleans()),
    "v0": (pl.Binary(), st.binary()),
}  # fmt: skip


@given(st.data(), st.sets(st.sampled_from(sorted(COLUMNS)), min_size=1), st.integers(0, 4))
def test_items_are_what_polars_makes_of_rows(data: st.DataObject, names: set[str], height: int) -> None:
    frame = pl.DataFrame(
        {
            name: pl.Series(data.draw(st.lists(st.none() | made, min_size=height, max_size=height)), dtype=dtype)
            for name, (dtype, made) in COLUMNS.items()
            if name in names
        }
    )
    got, wanted = flat_dicts(frame), frame.to_dicts()
    assert got == wanted
    assert [[(k, type(v)) for k, v in row.items()] for row in got] == [
        [(k, type(v)) for k, v in row.items()] for row in wanted
    ]
