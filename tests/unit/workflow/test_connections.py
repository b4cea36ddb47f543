"""Connections: arrows, groups, mappings, and what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.sdk.expression import Expression
from streamflow.sdk.places import Place
from streamflow.workflow.connections import read_arrow, read_connections
from streamflow.workflow.findings import Findings
from streamflow.workflow.model import Connection
from streamflow.workflow.tree import parse

AT = Place("f", 1, 3)


def read(text: str) -> tuple[list[Connection], Findings]:
    findings = Findings()
    tree, found = parse(text, "f")
    assert tree is not None
    assert found == []
    return read_connections(tree, findings), findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a -> b", ["a -> b"]),
        ("a->b->c", ["a -> b", "b -> c"]),
        ("a.true -> b.left", ["a.true -> b.left"]),
        ("a -> [b, c.in]", ["a -> b", "a -> c.in"]),
        ("[a, b.x] -> c", ["a -> c", "b.x -> c"]),
        ("a -> [b, c] -> d", ["a -> b", "a -> c", "b -> d", "c -> d"]),
        ("a -> b.left -> c", ["a -> b.left", "b -> c"]),
        ("a-b -> c-d", ["a-b -> c-d"]),
        ("a-b->c", ["a-b -> c"]),
        ("a.error -> b", ["a.error -> b"]),
    ],
)
def test_arrows(text: str, expected: list[str]) -> None:
    findings = Findings()
    made = read_arrow(text, AT, findings)
    assert findings == []
    assert [str(c) for c in made] == expected


def test_the_ends_of_an_arrow_have_places() -> None:
    (made,) = read_arrow("a.x  ->  bb", AT, Findings())
    assert (made.place, made.target_place) == (Place("f", 1, 3), Place("f", 1, 12))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a", 3, "'a' connects nothing: there is no '->'."),
        ("a ->", 7, "expected a node, found 'the end'."),
        ("-> a", 3, "expected a node, found '->'."),
        ("a b", 5, "expected '->', found 'b'."),
        ("a -> -> b", 8, "expected a node, found '->'."),
        ("a -> [b", 10, "expected ',' or ']', found 'the end'."),
        ("a -> [b c]", 11, "expected ',' or ']', found 'c'."),
        ("a -> []", 9, "expected a node, found ']'."),
        ("a => b", 5, "expected '->', found '=>'."),
        ("", 3, "expected a node, found 'the end'."),
    ],
)
def test_faulty_arrows(text: str, column: int, message: str) -> None:
    findings = Findings()
    assert read_arrow(text, AT, findings) == []
    assert [(f.code, f.place.column, f.message) for f in findings] == [("SF115", column, message)]


@given(st.text(alphabet="ab.->[], \n", max_size=30))
def test_any_arrow_text_gives_connections_or_one_finding(text: str) -> None:
    findings = Findings()
    made = read_arrow(text, AT, findings)
    assert bool(made) != bool(findings)
    assert len(findings) <= 1


def test_a_mapping_says_all_that_a_connection_has() -> None:
    made, findings = read(
        "- {from: a, port: true, to: b, input: left, type: main, condition: x > 1, label: big, metadata: {k: 1}}\n"
        "- {from: a.false, to: [b, c]}\n"
        "- {from: a, to: b, type: error}\n"
        "- {from: a, to: b, index: 1}\n"
        "- {from: a, to: b, type: loop}\n"
    )
    assert findings == []
    first = made[0]
    assert (first.source, first.source_port, first.target, first.target_port) == ("a", "true", "b", "left")
    assert (first.type, first.condition, first.label, first.metadata) == (
        "conditional",
        Expression("x > 1"),
        "big",
        {"k": 1},
    )
    assert first.condition is not None
    assert first.condition.place == Place("f", 1, 68)
    assert [str(c) for c in made[1:3]] == ["a.false -> b", "a.false -> c"]
    assert (made[3].type, made[3].source_port) == ("error", "error")
    assert (made[4].index, made[4].source_port) == (1, "")
    assert made[5].type == "loop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- {form: a, to: b}", ["SF110 unknown key 'form' of a connection.", "SF111 the connection has no 'from'."]),
        ("- {from: a}", ["SF111 the connection has no 'to'."]),
        ("- {from: a, to: 5}", ["SF112 to: expected a node, found 5."]),
        (
            "- {from: a, to: b, type: mian}",
            ["SF112 type: expected one of main, error, conditional, loop, found 'mian'."],
        ),
        ("- {from: a, to: b, type: conditional}", ["SF143 a conditional connection needs a condition."]),
        ("- {from: a, to: b, type: error, condition: x}", ["SF143 an error connection has no condition."]),
        ("- {from: a.x, port: y, to: b}", ["SF115 from: 'a.x' names port 'x', port names 'y'."]),
        ("- {from: a, to: b, index: -1}", ["SF112 index: expected the number of an output port, from 0, found -1."]),
        ("- [a, b]", ["SF115 a list is no connection."]),
        ("a: b", ["SF112 connections: expected a list, found a mapping."]),
        ("a -> b", ["SF112 connections: expected a list, found 'a -> b'."]),
    ],
)
def test_faulty_mappings(text: str, expected: list[str]) -> None:
    made, findings = read(text)
    assert made == []
    assert [f"{f.code} {f.message}" for f in findings] == expected


def test_a_fan_in_before_a_fan_out_is_bounded() -> None:
    names = ", ".join(f"n{i}" for i in range(200))
    made, findings = read(f"- '[{names}] -> [{names}]'")
    assert [f.code for f in findings] == ["SF104"]
    assert len(made) == 10_000
