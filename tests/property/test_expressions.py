"""Both backends have one meaning; batches do not show; JSON agrees with types; hostile text is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.expressions import compile_projection, references
from streamflow.expressions.functions.operators import equal
from streamflow.expressions.functions.regex import compiled as compiled_pattern
from streamflow.expressions.functions.regex import pattern_fault, polars_pattern
from streamflow.expressions.json_values import jsonify
from streamflow.expressions.projection import CompiledProjection
from streamflow.expressions.values import to_python
from streamflow.model.types import ANY, PAYLOAD, Type, frame_schema
from streamflow.sdk.expression import ITEM_ERROR_CODES, Expression, Scope
from tests.property.expression_grammar import CALLS, JSON_SCHEMA, SCHEMA, any_expressions, call, frames

Result = tuple[list[Any], list[int]]
JSON_FIELDS = frozenset(f.name for f in JSON_SCHEMA.fields)


def compiled(text: str, schema: Type, prefer: str) -> CompiledProjection | None:
    projection, _ = compile_projection({"v": Expression(text)}, Scope(item=schema), prefer=prefer)  # type: ignore[arg-type]
    return projection


def result(projection: CompiledProjection, frame: pl.DataFrame) -> Result:
    """Values in their Python representation and error codes. A fault of polars is not caught here: it would hide."""
    if projection._typed is not None:
        values, errors = projection._typed.run(frame)["v"]
    else:
        evaluated = projection.run(frame)
        values, errors = evaluated.values["v"], evaluated.errors.get("v")
    assert len(values) == frame.height
    return to_python(values, projection.types["v"]), [0] * frame.height if errors is None else errors.to_list()


def agree(text: str, frame: pl.DataFrame) -> None:
    columnar, rowwise = compiled(text, SCHEMA, "auto"), compiled(text, SCHEMA, "python")
    if columnar is None:
        return
    assert rowwise is not None
    found, expected = result(columnar, frame), result(rowwise, frame)
    assert repr(found) == repr(expected)
    assert all(v is None for v, code in zip(*found, strict=True) if code)
    assert set(found[1]) <= {0, *ITEM_ERROR_CODES}


@settings(max_examples=settings.default.max_examples * 5)  # type: ignore[union-attr]
@given(any_expressions(), frames(SCHEMA))
def test_both_backends_agree(text: str, frame: pl.DataFrame) -> None:
    agree(text, frame)


@pytest.mark.parametrize("name", sorted({name for calls in CALLS.values() for name, _ in calls}))
def test_both_backends_agree_on_each_function(name: str) -> None:
    """Method: every signature on plain fields and literals, so that no kernel is left to chance."""
    calls = [c for found in CALLS.values() for c in found if c[0] == name]

    @settings(max_examples=settings.default.max_examples // 8)  # type: ignore[union-attr]
    @given(st.sampled_from(calls).flatmap(lambda c: call(c, 0, None)), frames(SCHEMA))
    def check(text: str, frame: pl.DataFrame) -> None:
        agree(text, frame)

    check()


@given(any_expressions(), frames(SCHEMA), st.lists(st.integers(0, 12), max_size=3))
def test_a_batch_is_never_observable(text: str, frame: pl.DataFrame, cuts: list[int]) -> None:
    projection = compiled(text, SCHEMA, "auto")
    if projection is None:
        return
    whole = result(projection, frame)
    values: list[Any] = []
    codes: list[int] = []
    edges = [0, *sorted(c for c in cuts if c <= frame.height), frame.height]
    for start, stop in pairwise(edges):
        part = result(projection, frame.slice(start, stop - start))
        values += part[0]
        codes += part[1]
    assert repr((values, codes)) == repr(whole)


@settings(max_examples=settings.default.max_examples * 3)  # type: ignore[union-attr]
@given(any_expressions(fields=JSON_FIELDS), frames(JSON_SCHEMA, strange=False))
def test_json_agrees_with_types(text: str, frame: pl.DataFrame) -> None:
    typed, untyped = compiled(text, JSON_SCHEMA, "python"), compiled(text, ANY, "auto")
    if typed is None or untyped is None:
        return
    convert = jsonify(JSON_SCHEMA)
    items = [{f.name: to_python(frame[f.name], f.type)[i] for f in JSON_SCHEMA.fields} for i in range(frame.height)]
    payload = pl.DataFrame({PAYLOAD: [orjson.dumps(item if convert is None else convert(item)) for item in items]})
    expected, found = result(typed, frame), result(untyped, payload)
    assert found[1] == expected[1]
    if untyped.types["v"].required() == typed.types["v"].required():
        assert repr(found[0]) == repr(expected[0])
    else:
        assert equal(_json(found[0], untyped.types["v"]), _json(expected[0], typed.types["v"])), (found, expected)


def _json(values: list[Any], t: Type) -> list[Any]:
    outward = jsonify(t)
    plain = [None if v is None else v if outward is None else outward(v) for v in values]
    return orjson.loads(orjson.dumps(plain))  # type: ignore[no-any-return]


HOSTILE = [
    "(" * 100_000,
    "[" * 100_000 + "]" * 100_000,
    "-" * 4_000,
    "not " * 1_000 + "b",
    "x" * 1_000_000,
    "1" * 4_000,
    "9" * 30,
    "0x" + "f" * 3_000,
    "1e999",
    "\0",
    "'\\ud800'",
    "\ud800",
    "a\x00b",
    "'" + "\\" * 4_001,
    "{{" * 2_000,
    "}}",
    "{{",
    "={{}}",
    "a.b" * 1_000,
    "a if " * 900,
    "a if b else " * 300 + "a",
    "lambda: 0",
    "[x for x in y]",
    "f'{x}'",
    "b'\\u0100'",
    "__import__('os')",
    "().__class__",
    "item.__class__",
    "$json.__proto__",
    "$",
    "$('a').item.json",
    "$now",
    "a := 1",
    "*a",
    "a ** b",
    "a;b",
    "#",
    "`a`",
    "x" * 300 + "(",
    "a\n\n\n+",
    "\n",
    "",
    " ",
    "1_",
    "1__0",
    "0b12",
    "1if b else 2",
    "'a' 'b'",
    "b'a' 'b'",
    "..",
    "...",
    "a[::2]",
    "a[1,2]",
    "coalesce(" * 60 + "n" + ")" * 60,
    "try(" * 49 + "n" + ")" * 49,
    "+".join(["n"] * 500),
    "+".join(["n"] * 60),
    "case(" + ",".join(["b,n"] * 99) + ")",
    " and ".join(["b"] * 400),
    "n < (" * 45 + "n" + ") < n" * 45,
    "{'a': n, **r}",
    "item[b'a']",
    "max(" * 49 + "n, m" + ", 1)" * 49,
    "repeat('a', 1000000) + repeat('b', 1000000)",
    "range(0, 9223372036854775807)",
    "pow(2, 9999999999)",
    "round(1.5, 9223372036854775807)",
    "date_add(d, 9223372036854775807, 'year')",
    "pad_left('a', 9223372036854775807)",
    "regex_match(t, '" + "(" * 900 + ")" * 900 + "')",
    "regex_match(t, '(a{1,1000}){1,1000}')",
    "substring(t, -9223372036854775808, 1)",
    "[1][9223372036854775807]",
    "ln[-9223372036854775808]",
    "parse_json('" + "[" * 3_000 + "')",
    "join([" + ",".join(["t"] * 400) + "])",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_or_runs(text: str) -> None:
    projection, found = compile_projection({"v": Expression(text)}, Scope(item=SCHEMA))
    assert (projection is None) == bool(found)
    references(Expression(text))
    if projection is not None:
        frame = pl.DataFrame(schema=frame_schema(SCHEMA))
        assert projection.run(frame).values.height == 0


_TOKENS = st.sampled_from(
    [
        "n",
        "x",
        "s",
        "r",
        "ln",
        "item",
        "meta",
        "nodes",
        "vars",
        ".",
        ",",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "==",
        "<",
        "in",
        "not",
        "and",
        "or",
        "if",
        "else",
        "null",
        "1",
        "0.5",
        "'a'",
        '"b"',
        "{{",
        "}}",
        "$json",
        "$",
        "is",
        "lambda",
        "for",
        "upper",
        "coalesce",
        "try",
        "\\",
        "\n",
        "'",
    ]
)


@settings(max_examples=settings.default.max_examples * 5)  # type: ignore[union-attr]
@given(
    st.text(max_size=60) | st.lists(_TOKENS, max_size=20).map(" ".join) | st.lists(_TOKENS, max_size=20).map("".join)
)
def test_random_text_gives_diagnostics_never_exceptions(text: str) -> None:
    for schema in (SCHEMA, ANY):
        projection, found = compile_projection({"v": Expression(text)}, Scope(item=schema))
        assert (projection is None) == bool(found)
        assert all(d.code.startswith("SF21") and d.message for d in found)
    references(Expression(text))


@given(frames(SCHEMA))
def test_every_value_survives_the_python_backend(frame: pl.DataFrame) -> None:
    """Passing a field through changes nothing, whatever the type."""
    for field in SCHEMA.fields:
        projection = compiled(field.name, SCHEMA, "python")
        assert projection is not None
        assert projection.run(frame).values["v"].equals(frame[field.name], null_equal=True)


_PATTERNS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "é",
            ".",
            "\\d",
            "\\w",
            "\\s",
            "[a-c]",
            "[^a]",
            "[0-9_ ]",
            "(",
            ")",
            "|",
            "*",
            "+",
            "?",
            "^",
            "$",
            "\\.",
            " ",
        ]
    ),
    max_size=7,
).map("".join)


@given(_PATTERNS, st.lists(st.text(st.sampled_from("abé19_ .\n\u0660\u00a0"), max_size=6), min_size=1, max_size=8))
def test_patterns_that_polars_runs_mean_what_re2_says(pattern: str, texts: list[str]) -> None:
    plain = polars_pattern(pattern)
    if not plain or pattern_fault(pattern):
        return
    try:
        found = pl.Series(texts).str.contains(plain).to_list()
    except pl.exceptions.ComputeError:
        return  # then RE2 runs it
    assert found == [compiled_pattern(pattern).search(text) is not None for text in texts]
