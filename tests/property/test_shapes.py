"""Expressions on JSON give the same whether items are taken apart by their shape or one by one in Python."""

from __future__ import annotations

import json
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamflow.expressions import shaped
from streamflow.expressions.projection import compile_projection
from streamflow.expressions.shape import shape_of
from streamflow.model.batch import Batch
from streamflow.model.types import ANY, PAYLOAD
from streamflow.sdk.expression import Expression, Projection, Scope
from tests.property.test_json_check import texts

KEYS = ["a", "b", "s", "t", "f", "n", 'q"\u00e9']
NUMBERS = st.one_of(
    st.integers(-5, 50), st.integers(-(2**63), 2**63 - 1), st.floats(-100, 100), st.floats(allow_nan=False),
    st.floats(0, 1000).map(lambda x: round(x, 2)),
    st.sampled_from([0, -0.0, 0.0, 1e-4, 0.00012, 1e15, 1e16, 123456789.25]),
)  # fmt: skip
STRINGS = st.one_of(st.sampled_from(["DE", "FR", "", 'x"y', "a,b", "\u00e9", "\n", "\\"]), st.text(max_size=4))
VALUES = st.one_of(
    NUMBERS, STRINGS, st.booleans(), st.none(), st.lists(st.integers(0, 3), max_size=2), st.just({"k": "v"})
)
CONDITIONS = [
    "a > 20", "a * b > 500", 's in ["DE", "FR"]', 's == "DE" and a < b', "f or a == 3", "not f", "a + b >= 2.5",
    "s != t", "a - b == 0", "a == 1 if f else b == 2", 's not in ["DE"]', "n == null", "a > b or s < t", "f",
]  # fmt: skip
VALUED = [
    "a", "a * b", "a + b - 2", '"gold" if a * b > 500 else "std"', "s", "a if f else b", "1 if f else 2.5",
    "f and a > 1", 's + "x"', "2.5", '"q"', "b * 1.5", '"\\"" if f else "x"', "item", "missing", "n", "t", "a > 1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaped, "_ROWS_MIN", 1)


def projection(expressions: dict[str, str], *, as_any: bool, prefer: str) -> Projection:
    made, found = compile_projection(
        {n: Expression(e) for n, e in expressions.items()},
        Scope(item=ANY),
        expect=dict.fromkeys(expressions, ANY) if as_any else None,
        prefer=prefer,  # type: ignore[arg-type]
    )
    assert made is not None, found
    return made


def outcome(made: Projection, items: list[bytes]) -> list[tuple[Any, int]]:
    frame = pl.DataFrame({PAYLOAD: pl.Series(items, dtype=pl.Binary)})
    done = made.run(frame, {})
    (values,) = done.values.get_columns()
    codes = done.errors.get(values.name)
    return list(zip(values.to_list(), [0] * len(items) if codes is None else codes.to_list(), strict=True))


@st.composite
def rows(draw: st.DrawFn) -> list[bytes]:
    """Objects most of which have one shape, and of whose values most are as plain as producers write them."""
    plain = [st.integers(-9, 99), st.floats(0, 99).map(lambda x: round(x, 2)), st.sampled_from(["DE", "FR", "\u00e9"]),
             st.booleans()]  # fmt: skip
    kinds = {k: draw(st.sampled_from([*plain, *plain, NUMBERS, STRINGS, st.floats(0, 99), VALUES])) for k in KEYS}
    order = draw(st.permutations(KEYS))
    order = order[: draw(st.integers(3, len(order)))]
    compact, ascii_ = draw(st.booleans()), draw(st.booleans())
    made = []
    for _ in range(draw(st.integers(1, 8))):
        keys = draw(st.permutations(order)) if draw(st.integers(0, 9)) == 0 else order
        value = {k: draw(VALUES if draw(st.integers(0, 19)) == 0 else kinds[k]) for k in keys}
        made.append(texts(value, compact, ascii_))
    return made


@st.composite
def sets(draw: st.DrawFn) -> str:
    base = draw(
        st.sampled_from(["item", 'pick(item, "a", "s", "zz")', 'pick(item, "t", "f", "n")', 'omit(item, "a")', ""])
    )
    names = draw(st.lists(st.sampled_from(["x", "a", "y", "s"]), unique=True, min_size=1, max_size=3))
    new = ", ".join(f'"{n}": ({draw(st.sampled_from(VALUED))})' for n in names)
    return f"merge({base}, {{{new}}})" if base else f"{{{new}}}"


@given(rows(), st.sampled_from(CONDITIONS))
def test_conditions(items: list[bytes], condition: str) -> None:
    quick, slow = (projection({"when": condition}, as_any=False, prefer=p) for p in ("auto", "python"))
    assert outcome(quick, items) == outcome(slow, items)


@given(rows(), st.one_of(sets(), st.sampled_from([v for v in VALUED if v != "item"])))
@example([b'{"a":1.50,"b":2}'] * 2, 'merge(item, {"x": (a * b)})')
@example([b'{"a":1,"b":2,"a":3}'] * 2, 'merge(item, {"x": (a * b)})')
@example([b'{"a":-0,"b":-0.0}'] * 2, 'merge(item, {"x": (a * b)})')
@example([b'{"a": 1,"b":2}'] * 2, 'merge(item, {"x": (a)})')
@example([b'{"a":999999999999999,"b":999999999999999}'] * 2, 'merge(item, {"x": (a * b)})')
@example([b'{"a":1234567890123456789,"b":0.5}'] * 2, 'merge(pick(item, "a"), {"x": (a * b)})')
@example([b'{"a":0.00001,"b":100000000000000.5}'] * 2, 'merge(item, {"x": (a), "y": (b * 1.5)})')
def test_new_items(items: list[bytes], expression: str) -> None:
    """Byte for byte: a step's first row decides which way is taken, and steps must not show."""
    quick, slow = (projection({"new": expression}, as_any=True, prefer=p) for p in ("auto", "python"))
    assert outcome(quick, items) == outcome(slow, items)


@given(rows())
def test_what_a_filter_took_apart_serves_the_next_node(items: list[bytes]) -> None:
    frame = pl.DataFrame({PAYLOAD: pl.Series(items, dtype=pl.Binary)})
    batch = Batch(frame, ANY, {})
    when = projection({"when": "a > 20"}, as_any=False, prefer="auto")
    new = projection({"new": 'merge(pick(item, "s"), {"x": (a * b)})'}, as_any=True, prefer="auto")
    kept = batch.where(when.run(batch.frame, batch.parsed).values.to_series().fill_null(False))
    alone = Batch(kept.frame, ANY, {})
    assert new.run(kept.frame, kept.parsed).values.equals(new.run(alone.frame, alone.parsed).values)


def test_most_items_of_one_shape_never_become_python_objects() -> None:
    items = [json.dumps({"a": i + 0.5, "b": i, "s": "DE"}, separators=(",", ":")).encode() for i in range(100)]
    made = projection(
        {"new": 'merge(pick(item, "s"), {"x": (a * b), "y": ("g" if a > 9 else "s")})'}, as_any=True, prefer="auto"
    )
    (only,) = made._untyped.values()  # type: ignore[attr-defined]
    found = only._by_shape(pl.DataFrame({PAYLOAD: items}), {})
    assert found.null_count() == 0
    assert orjson.loads(found[11]) == {"s": "DE", "x": 126.5, "y": "g"}


def test_a_text_that_ends_with_a_comma_is_no_mark() -> None:
    for item in (b'{"p,":":z",":":1,"a":"x,","]":["y,"],"b":2}', b'{"p,":"","a":"q,","b":3,"c":["r,","s"],"d":4}'):
        made = [projection({"new": 'merge(item, {"x": (b)})'}, as_any=True, prefer=p) for p in ("auto", "python")]
        assert outcome(made[0], [item] * 2) == outcome(made[1], [item] * 2)


@pytest.mark.parametrize("first", [",", ":", "]", "}", " "])
def test_keys_that_begin_like_what_follows_a_text_have_no_shape(first: str) -> None:
    assert shape_of(json.dumps({"a": 1, f"{first}a": 1})) is None


@pytest.mark.parametrize("text", ["[1]", "1", "{}", "", "nonsense"])
def test_odd_texts_have_no_shape(text: str) -> None:
    assert shape_of(text) is None


def test_many_keys_have_no_shape() -> None:
    assert shape_of(json.dumps({str(i): i for i in range(65)})) is None
    assert shape_of(json.dumps({str(i): i for i in range(64)})) is not None
