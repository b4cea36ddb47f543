"""Parameters: coercion by annotation, findings at their places, and the way back to JSON."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Template
from streamflow.sdk.params import BROKEN, RawParams, build, json_schema, nearest, parse_duration_ms, to_json
from streamflow.sdk.places import Place

from .kinds import Event, Everything, If, Join, Order, Rule, Set

AT = Place("w.yaml", 3, 5)


def raw(**values: object) -> RawParams:
    return RawParams(values=values, place=AT)


def messages(kind: type, values: dict[str, object]) -> list[str]:
    node, found = build(kind, RawParams(values=values, place=AT))
    assert node is None
    return [f"{f.code} {f.message} {f.mend}".strip() for f in found]


def test_every_annotation_is_coerced() -> None:
    node, found = build(
        Everything,
        raw(
            text="hi",
            whole=3,
            number=2,
            flag=True,
            mode=True,
            when="a > 1",
            greeting="hi {{ a }}",
            function="m.n:f",
            schema="a.avsc",
            data={"x": [1, None]},
            names=["a", "b"],
            limits={"a": 1},
            rules=[{"when": "x", "port": "p"}, {"when": True, "port": "q", "weight": 2}],
            first={"when": 1.5, "port": "z"},
            delay_ms="1.5s",
        ),
    )
    assert found == []
    assert node == Everything(
        text="hi",
        whole=3,
        number=2.0,
        flag=True,
        mode="true",
        when=Expression("a > 1"),
        greeting=Template("hi {{ a }}"),
        function=FunctionRef("m.n:f"),
        schema="a.avsc",
        data={"x": [1, None]},
        names=("a", "b"),
        limits={"a": 1},
        rules=(Rule(when=Expression("x"), port="p"), Rule(when=Expression("True"), port="q", weight=2.0)),
        first=Rule(when=Expression("1.5"), port="z"),
        delay_ms=1_500,
    )
    assert build(Everything, raw(**to_json(node))) == (node, [])
    assert "whole" not in to_json(Everything())
    assert json.loads(json.dumps(to_json(node))) == to_json(node)


def test_an_expression_knows_where_its_text_starts() -> None:
    place = Place("w.yaml", 7, 30)
    node, _ = build(
        Set, RawParams(values={"fields": {"total": "a * b"}}, places={("fields", "total"): place}, place=AT)
    )
    assert isinstance(node, Set)
    assert node.fields["total"].place == place


def test_one_scalar_stands_for_a_list_of_one() -> None:
    node, found = build(Everything, raw(names="country"))
    assert (node, found) == (Everything(names=("country",)), [])


def test_a_scalar_stands_for_a_form_with_one_required_parameter() -> None:
    first, second = Order(value=Expression("a")), Order(value=Expression("b"), descending=True)
    node, found = build(Everything, raw(by=["a", {"value": "b", "descending": True}]))
    assert (node, found) == (Everything(by=(first, second)), [])
    assert build(Everything, raw(by="a")) == (Everything(by=(first,)), [])
    jsonschema.validate({"by": "a"}, json_schema(Everything))
    jsonschema.validate({"by": ["a", {"value": "b"}]}, json_schema(Everything))


def test_all_findings_of_a_node_come_at_once_each_at_its_place() -> None:
    places = {("whole",): Place("w", 1, 1), ("mode",): Place("w", 2, 2), ("nmes", "<key>"): Place("w", 4, 4)}
    values = {"whole": "x", "mode": "c", "nmes": [], "rules": [{"port": "a b"}]}
    node, found = build(Everything, RawParams(values=values, places=places, place=AT))
    assert node is None
    assert [(f.code, f.place) for f in found] == [
        ("SF121", Place("w", 4, 4)),
        ("SF123", Place("w", 1, 1)),
        ("SF124", Place("w", 2, 2)),
        ("SF122", AT),
        ("SF124", AT),
    ]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (Event, {}, "SF122 missing parameter 'topic': Topic to read."),
        (Event, {"topik": "a"}, "SF121 unknown parameter 'topik'. Did you mean 'topic'?"),
        (Event, {"topic": ""}, "SF124 parameter 'topic': needs at least 1 characters, found 0."),
        (Event, {"topic": 5}, "SF123 parameter 'topic': expected text, found 5. Quote it to make it text."),
        (Everything, {"whole": "5"}, "SF123 parameter 'whole': expected an integer, found '5'. Remove the quotes."),
        (Everything, {"whole": True}, "SF123 parameter 'whole': expected an integer, found true."),
        (Everything, {"whole": 2.0}, "SF123 parameter 'whole': expected an integer, found 2.0."),
        (Everything, {"whole": 6}, "SF124 parameter 'whole': must be at most 5, found 6."),
        (
            Everything,
            {"number": 2**80},
            "SF124 parameter 'number': must be at most 1e+09, found 1.2089258196146292e+24.",
        ),
        (Everything, {"number": float("nan")}, "SF124 parameter 'number': must be finite, found nan."),
        (Everything, {"limits": {"a": 2**63}}, f"SF124 parameter 'limits.a': must fit 64 bits, found {2**63}."),
        (Everything, {"limits": [1]}, "SF123 parameter 'limits': expected a mapping, found a list."),
        (Everything, {"names": {"a": 1}}, "SF123 parameter 'names': expected a list, found a mapping."),
        (
            Everything,
            {"names": ["a", 1]},
            "SF123 parameter 'names[1]': expected text, found 1. Quote it to make it text.",
        ),
        (Everything, {"first": "x"}, "SF123 parameter 'first': expected a mapping with when, port, weight, found 'x'."),
        (
            Everything,
            {"function": "os.system"},
            "SF123 parameter 'function': expected a function as 'package.module:name', found 'os.system'.",
        ),
        (Everything, {"greeting": 5}, "SF123 parameter 'greeting': expected text, found 5. Quote it."),
        (
            Everything,
            {"flag": "true"},
            "SF123 parameter 'flag': expected true or false, found 'true'. Remove the quotes.",
        ),
        (Everything, {"flag": True, "mode": "b"}, "SF126 flag does not go with mode b."),
        (
            Everything,
            {"delay": 5},
            "SF123 parameter 'delay': expected a duration, found 5. "
            "Write it with a unit, such as '5s', or as 'delay_ms' in milliseconds.",
        ),
        (Everything, {"delay": "1s", "delay_ms": 1}, "SF121 'delay_ms' and 'delay' are the same parameter."),
        (
            Join,
            {"within_ms": "5 parsecs"},
            "SF125 parameter 'within_ms': '5 parsecs' is no duration. "
            "Write a number and a unit: 500ms, 5s, 2m, 2h or 1d.",
        ),
        (If, {"when": ["a"]}, "SF123 parameter 'when': expected an expression, found a list. Quote it."),
        (If, {"when": "  "}, "SF123 parameter 'when': expected an expression, found '  '."),
        (Set, {"fields": {}}, "SF124 parameter 'fields': needs at least 1 entries, found 0."),
    ],
)
def test_what_is_wrong_is_said(kind: type, values: dict[str, object], expected: str) -> None:
    assert messages(kind, values) == [expected]


def test_a_long_text_is_shortened_in_a_message() -> None:
    (message,) = messages(Event, {"x" * 100_000: 1, "topic": "t"})
    assert len(message) < 900


def test_what_the_reader_reported_is_not_reported_again() -> None:
    assert build(If, raw(when=BROKEN)) == (None, [])
    assert build(Set, raw(fields={"a": BROKEN})) == (None, [])


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("5s", 5_000),
        ("2m", 120_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1.5s", 1_500),
        (" 5 s ", 5_000),
    ],
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5w", "0.0001ms", "1e3s", "9" * 39 + "d", "5s5s"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration_ms(text) is None


def test_the_nearest_name_ignores_case_and_hyphens() -> None:
    assert nearest("stop_and_eror", ["stop-and-error", "set"]) == "stop-and-error"
    assert nearest("TOPIC", ["topic"]) == "topic"
    assert nearest("zebra", ["topic"]) == ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Everything.__dataclass_fields__, "delay", "other"]), _JSON, max_size=5))
def test_any_json_gives_a_node_or_findings_and_the_schema_agrees(values: dict[str, object]) -> None:
    """Method: whatever the values are, nothing is raised; what `build` takes, the schema takes, and JSON keeps."""
    node, found = build(Everything, raw(**values))
    assert (node is None) == bool(found)
    if node is not None:
        jsonschema.Draft202012Validator(json_schema(Everything)).validate(values)
        assert build(Everything, raw(**to_json(node))) == (node, [])


def test_the_schema_describes_parameters() -> None:
    schema = json_schema(Event)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["topic"]
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["start"] == {
        "description": "Where to begin.",
        "enum": ["earliest", "latest"],
        "default": "earliest",
    }
