"""Names, spellings, templates, wanted types, and errors of items: what a user of expressions meets."""

from __future__ import annotations

from typing import Any

import orjson
import polars as pl
import pytest

from streamflow.expressions import WHOLE, compile_projection, constant, parse_template, references
from streamflow.expressions.polars_backend import PolarsProgram
from streamflow.expressions.projection import CompiledProjection
from streamflow.model.batch import EXECUTION, HEADERS, HEADERS_DTYPE, KEY, TS, kept_column
from streamflow.model.types import (
    ANY,
    BOOL,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    PAYLOAD,
    STRING,
    TIMESTAMP_MS,
    Type,
    array_of,
    polars_dtype,
    record_of,
)
from streamflow.sdk.errors import DocumentError, ItemError
from streamflow.sdk.expression import ITEM_ERROR_CODES, Expression, Scope
from streamflow.sdk.places import Place

ITEM = record_of({"amount": DOUBLE, "qty": INT, "name": STRING.optional(), "class": STRING, "first name": STRING})
FRAME = pl.DataFrame(
    {
        "amount": [1.5, 600.0, 0.0],
        "qty": pl.Series([1, 2, 0], dtype=pl.Int32),
        "name": ["ann", None, "bob"],
        "class": ["x", "y", "z"],
        "first name": ["A", "B", "C"],
        KEY: [b"k1", None, b"\xff"],
        TS: [0, 1_000, 1_709_210_096_789],
        EXECUTION: ["t#1/0:5", "t#1/0:6", "t#1/0:7"],
        HEADERS: pl.Series([[{"key": "a", "value": b"1"}, {"key": "a", "value": b"2"}], [], None], dtype=HEADERS_DTYPE),
        kept_column("my-id", "total"): [1.0, 2.0, 3.0],
        kept_column("raw", PAYLOAD): [b'{"a": 1}', b"{}", b"null"],
    }
)
SCOPE = Scope(
    item=ITEM,
    nodes={"my-id": record_of({"total": DOUBLE}), "raw": ANY},
    vars={"rate": 2, "codes": ["DE", "FR"], "deep": {"x": {"y": "z"}}},
)


def compiled(text: str, scope: Scope = SCOPE, wanted: Type | None = None, prefer: Any = "auto") -> CompiledProjection:
    expect = {} if wanted is None else {"v": wanted}
    projection, found = compile_projection({"v": Expression(text)}, scope, expect=expect, prefer=prefer)
    assert projection is not None, [str(d) for d in found]
    return projection


def run(text: str, frame: pl.DataFrame = FRAME, **more: Any) -> list[Any]:
    """Values, with the name of the error in the place of those that failed."""
    results = []
    for prefer in ("auto", "python"):
        evaluated = compiled(text, prefer=prefer, **more).run(frame)
        values = evaluated.values["v"].to_list()
        for row, code in enumerate(evaluated.errors.get("v", [])):
            if code:
                assert values[row] is None
                values[row] = ITEM_ERROR_CODES[code]
        results.append(values)
    assert results[0] == results[1]
    return results[0]


def json_items(*items: Any) -> pl.DataFrame:
    return pl.DataFrame({PAYLOAD: [i if isinstance(i, bytes) else orjson.dumps(i) for i in items]})


@pytest.mark.parametrize(
    "text",
    ["amount * qty", "item.amount * item['qty']", "{{ amount * qty }}", "={{ $json.amount * $json['qty'] }}",
     "$input.item.json.amount * $item.qty", "(amount\n * qty)"],
)  # fmt: skip
def test_spellings_of_fields(text: str) -> None:
    assert run(text) == [1.5, 1200.0, 0.0]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("class", ["x", "y", "z"]),
        ('item["first name"]', ["A", "B", "C"]),
        ('nodes["my-id"].total', [1.0, 2.0, 3.0]),
        ("$node[\"my-id\"].json.total", [1.0, 2.0, 3.0]),
        ("$('my-id').item.json.total", [1.0, 2.0, 3.0]),
        ("vars.rate * qty", [2, 4, 0]),
        ("$vars.deep.x.y", ["z", "z", "z"]),
        ('name in vars.codes', [False, None, False]),
        ("meta.key", ["k1", None, "bad_cast"]),
        ("year(meta.timestamp)", [1970, 1970, 2024]),
        ("$execution.id", ["t#1/0:5", "t#1/0:6", "t#1/0:7"]),
        ('text(meta.headers["a"])', ["2", None, None]),
        ("long(nodes.raw.a)", [1, None, None]),
        ("name == null", [False, True, False]),
        ("null != name", [True, False, True]),
        ("name is not None", [True, False, True]),
        ("qty != 0 and 10 / qty > 4", [True, True, False]),
        ("10 / qty", [10.0, 5.0, "division_by_zero"]),
        ("try(10 // qty, -1)", [10, 5, -1]),
        ('coalesce(name, string(10 // qty))', ["ann", "5", "bob"]),
        ('"yes" if name == "ann" else "no"', ["yes", "no", "no"]),
        ("1 <= qty < 2", [True, False, False]),
        ("[1, 2][qty]", [2, "missing_index", 1]),
        ('"abc"[-1:]', ["c", "c", "c"]),
    ],
)  # fmt: skip
def test_values(text: str, values: list[Any]) -> None:
    assert run(text) == values


def test_an_earlier_node_without_a_schema_is_read_from_its_payload_column() -> None:
    assert compiled("nodes.raw.a").columns == {kept_column("raw", PAYLOAD)}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("bool(a > 1 and b == 'x')", [False, True, None, "bad_cast", "wrong_type"]),
        ("long(a + 1)", [2, 3, None, "bad_cast", "wrong_type"]),
        ("b == 1", [False, False, False, "bad_cast", "wrong_type"]),
        ("string(missing.deeper)", [None, None, None, "bad_cast", "wrong_type"]),
        ('get(item, "a", 9)', [b"1", b"2", b"9", "bad_cast", b"9"]),
        ("a", [b"1", b"2", None, "bad_cast", "wrong_type"]),
        ("length(b)", [1, 1, 0, "bad_cast", "wrong_type"]),
    ],
)
def test_json_items(text: str, values: list[Any]) -> None:
    frame = json_items({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"b": ""}, b"{", [1])
    if text.startswith("bool"):
        values = [False, True, None, "bad_cast", "wrong_type"]
        frame = json_items({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"b": "x"}, b"{", [1])
    assert run(text, frame, scope=Scope(item=ANY)) == values


def test_json_integers_beyond_64_bits_are_kept_until_they_are_computed_with() -> None:
    frame = json_items({"n": 2**63})
    assert run("n", frame, scope=Scope(item=ANY)) == [b"9223372036854775808"]
    assert run("n + 1", frame, scope=Scope(item=ANY)) == ["overflow"]


@pytest.mark.parametrize(
    ("text", "wanted", "values"),
    [
        ("qty", LONG, [1, 2, 0]),
        ("qty", DOUBLE, [1.0, 2.0, 0.0]),
        ("7", INT, [7, 7, 7]),
        ("0.1", FLOAT, [0.10000000149011612] * 3),
        ("null", STRING, [None, None, None]),
        ("case(qty == 1, 5, 6)", INT, [5, 6, 6]),
        ("case(qty == 1, 'red', 'green')", Type(kind="enum", symbols=("red", "green")), ["red", "green", "green"]),
        ("name", Type(kind="enum", symbols=("ann",)), ["ann", None, "bad_cast"]),
        ("[1, qty]", array_of(DOUBLE), [[1.0, 1.0], [1.0, 2.0], [1.0, 0.0]]),
        ('{"b": qty, "a": "x"}', record_of({"a": STRING, "b": LONG}), [{"a": "x", "b": n} for n in (1, 2, 0)]),
    ],
)
def test_wanted_types(text: str, wanted: Type, values: list[Any]) -> None:
    assert compiled(text, wanted=wanted).types["v"].required() == wanted
    assert run(text, wanted=wanted) == values


def test_json_becomes_the_wanted_type_as_items_run() -> None:
    wanted = record_of({"id": LONG, "at": TIMESTAMP_MS.optional(), "tags": array_of(STRING)})
    frame = json_items(
        {"id": 1, "at": "1970-01-01T00:00:01Z", "tags": ["a"]},
        {"id": 1.0, "tags": []},
        {"id": "1", "tags": []},
        {"id": 1},
    )
    projection = compiled("item", Scope(item=ANY), wanted)
    evaluated = projection.run(frame)
    assert evaluated.values.schema["v"] == polars_dtype(wanted)
    assert evaluated.values["v"].struct.field("id").to_list() == [1, 1, None, None]
    assert evaluated.values["v"].struct.field("at").dt.timestamp("ms").to_list() == [1000, None, None, None]
    assert evaluated.errors["v"].to_list() == [0, 0, 3, 3]
    assert run("d", json_items({"d": "2024-02-30"}), scope=Scope(item=ANY), wanted=DATE) == ["bad_cast"]
    assert run("d", json_items({"d": 1}), scope=Scope(item=ANY), wanted=BOOL) == ["bad_cast"]


def test_references() -> None:
    found = references(
        Expression(
            "upper(a) + item.b + nodes.x.y + string(nodes['n-1']) + $json.c + $('z').item.json.k + meta.key + item[a]"
        )
    )
    assert found.fields == {"a", "b", "c"}
    assert found.nodes == {"x": {"y"}, "n-1": {WHOLE}, "z": {"k"}}
    assert found.meta == {"key"}
    assert found.whole_item
    assert not references(Expression("a +")).fields
    assert not references(Expression("true and null == false")).fields


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Hello {{ name }}, {{ qty }}!", ["Hello ann, 1!", "Hello , 2!", "Hello bob, 0!"]),
        ("{{ qty }}", [1, 2, 0]),
        ('plain "text"\n\\d', ['plain "text"\n\\d'] * 3),
        ("{{ '}}' + string(qty) }} a {{", ["}}1 a {{", "}}2 a {{", "}}0 a {{"]),
        ("{{ {'a': qty}.a }}x", ["1x", "2x", "0x"]),
        ("", [""] * 3),
    ],
)
def test_templates(text: str, values: list[Any]) -> None:
    assert run(parse_template(text, Place()).text) == values


def test_a_template_of_one_expression_keeps_its_place() -> None:
    assert parse_template("{{ name }}", Place("f.yaml", 3, 5)) == Expression("name")
    assert parse_template("{{ name }}", Place("f.yaml", 3, 5)).place == Place("f.yaml", 3, 8)


def test_constants() -> None:
    assert constant(Expression("vars.n * 2"), {"n": 4}) == 8
    assert constant(Expression('["a", 1 / 2]'), {}) == ["a", 0.5]
    with pytest.raises(ItemError, match="division by zero"):
        constant(Expression("1 / 0"), {})
    with pytest.raises(DocumentError, match="SF211"):
        constant(Expression("x"), {})
    with pytest.raises(DocumentError, match="reads @ts"):
        constant(Expression("meta.timestamp"), {})


def test_when_polars_refuses_a_frame_the_rows_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: polars fails as a whole; the result must be that of the Python backend."""

    def refuse(self: PolarsProgram, frame: pl.DataFrame) -> Any:
        raise pl.exceptions.PanicException("called `Option::unwrap()` on a `None` value")

    projection = compiled("10 // qty")
    monkeypatch.setattr(PolarsProgram, "run", refuse)
    evaluated = projection.run(FRAME)
    assert evaluated.values["v"].to_list() == [10, 5, None]
    assert evaluated.errors["v"].to_list() == [0, 0, 2]


def test_only_what_computes_with_json_leaves_the_columns() -> None:
    projection, found = compile_projection(
        {"typed": Expression("amount * 2"), "json": Expression("nodes.raw.a == 1")}, SCOPE
    )
    assert projection is not None, found
    assert set(projection._untyped) == {"json"}
    assert compiled("item", Scope(item=ANY))._untyped == {}
