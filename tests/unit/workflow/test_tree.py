"""YAML reading: values, places, what is refused, and that hostile text neither crashes nor stalls."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from streamflow.sdk.places import Place
from streamflow.workflow.tree import parse, plain


def value(text: str) -> object:
    tree, found = parse(text, "f")
    assert found == []
    assert tree is not None
    return plain(tree)


def findings(text: str) -> list[str]:
    return [f"{f.place.line}:{f.place.column} {f.code} {f.message} {f.mend}".strip() for f in parse(text, "f")[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: yes", {"a": "yes"}),
        ("a: on", {"a": "on"}),
        ("on: 1", {"on": 1}),
        ("a: true", {"a": True}),
        ("true: a", {"true": "a"}),
        ("1: a", {"1": "a"}),
        ("a: 2020-01-01", {"a": "2020-01-01"}),
        ("a: 0x10", {"a": "0x10"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 12:30:00", {"a": "12:30:00"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: -7", {"a": -7}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: .5", {"a": 0.5}),
        ("a: .inf", {"a": ".inf"}),
        ("a: 1e999", {"a": "1e999"}),
        ("a: '5'", {"a": "5"}),
        ("a: =1", {"a": "=1"}),
        ("[1, [2, {a: b}]]", [1, [2, {"a": "b"}]]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{when: country in ["DE", "FR"]}', 'country in ["DE", "FR"]'),
        ('{when: country in ["DE", "FR"], b: 1}', 'country in ["DE", "FR"]'),
        ('{when: x in ["]", "a"] and y == [1, [2]][1] }', 'x in ["]", "a"] and y == [1, [2]][1]'),
        ("{when: items[0]}", "items[0]"),
        ("{when: items[0] > max(1, [2, 3])}", None),
        ("{when: a {b: [c]} d}", "a {b: [c]} d"),
        ("{when: [a, b]}", ["a", "b"]),
    ],
)
def test_brackets_in_unquoted_text_of_a_flow_mapping(text: str, expected: object) -> None:
    tree, found = parse(text, "f")
    if expected is None:
        assert [f.code for f in found] == ["SF107"]
    else:
        assert tree is not None
        assert plain(tree)["when"] == expected  # type: ignore[index]


def test_a_list_of_arrows_with_groups() -> None:
    assert value("[a -> [b, c], c -> d]") == ["a -> [b, c]", "c -> d"]


def test_places_are_where_text_starts() -> None:
    places: dict[tuple[str | int, ...], Place] = {}
    tree, _ = parse("a: \"xy\"\nb:\n  - c: z\n  - |\n\n     text\n  - 'q'\n", "f")
    assert tree is not None
    plain(tree, (), places)
    assert places["a",] == Place("f", 1, 5)
    assert places["a", "<key>"] == Place("f", 1, 1)
    assert places["b", 0, "c"] == Place("f", 3, 8)
    assert places["b", 1] == Place("f", 6, 6)
    assert places["b", 2] == Place("f", 7, 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: &x 1\nb: *x",
            [
                "1:4 SF102 anchor &x is not accepted. Remove it.",
                "2:4 SF102 alias *x is not accepted. Write the value out.",
            ],
        ),
        ("<<: {a: 1}", ["1:1 SF102 merge key << is not accepted. Write the keys out."]),
        (
            "a: !!python/object:os.system x",
            ["1:4 SF102 tag !!python/object:os.system is not accepted. Remove it; quote a value to make it text."],
        ),
        ("a: !secret x", ["1:4 SF102 tag !secret is not accepted. Remove it; quote a value to make it text."]),
        (
            "a: 1\na: 2\na: 3",
            [
                "2:1 SF103 key 'a' is already there on line 1. Remove one of them.",
                "3:1 SF103 key 'a' is already there on line 1. Remove one of them.",
            ],
        ),
        ("nodes:\n  x: 1\n  x: 2", ["3:3 SF114 node id 'x' is already used on line 2. Rename one of them."]),
        ("? [a]\n: 1", ["1:3 SF112 a key must be text. Quote it."]),
        ("a: 1\n---\nb: 1", ["2:1 SF102 a second document starts here. Use one file each."]),
        (
            "a:\n\t- b",
            [
                "2:1 SF101 this is no YAML: found character '\\t' that cannot start any token. "
                "Indent with spaces, not tabs."
            ],
        ),
        ("a: \x07", ["1:4 SF101 this is no YAML: a control character stands here. Remove it."]),
        ("a: max(b, c)", []),
        (
            "{a: max(b, c, d) > 1, e: f}",
            ["1:5 SF107 the comma ends the value of 'a', leaving 'max(b'. Quote the whole value: a: '…'."],
        ),
    ],
)
def test_what_is_refused(text: str, expected: list[str]) -> None:
    assert findings(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "{a: " * 200_000,
        "- " * 300_000,
        "!" * 1_000_000,
        "&" + "a" * 1_000_000,
        "'" + "a" * 1_000_000,
        "{a: b [" * 100_000,
        "x: [" + "[" * 60_000 + "]" * 60_000 + "]",
        "a: 1\n" * 200_000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
        "? " * 30_000,
        "%YAML 9.9\n---\na: 1",
        "%TAG ! tag:x,2000:\n---\n!a b",
        "\ud800",
        'a: "\\ud800"\nb: \'',
        "a: b\x00c",
    ],
)
def test_hostile_text_is_refused(text: str) -> None:
    found = parse(text, "f")[1]
    assert found
    assert all(len(str(f)) < 2_000 for f in found)


@pytest.mark.parametrize("text", ["", "# nothing", "---\n"])
def test_empty_text(text: str) -> None:
    tree, found = parse(text, "f")
    assert found == []
    assert tree is None or plain(tree) is None


@given(st.text(alphabet="ab:-[]{}()\"'\\|>&*!%@`?,#~ \n\t\x00é", max_size=60))
def test_any_text_gives_a_tree_or_findings(text: str) -> None:
    tree, found = parse(text, "f")
    if tree is not None:
        plain(tree)
    assert all(f.place.line >= 1 for f in found)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(_JSON)
def test_json_is_yaml(data: object) -> None:
    tree, found = parse(json.dumps({"a": data}), "f")
    assert found == []
    assert tree is not None
    assert plain(tree) == {"a": data}


@given(_JSON)
def test_what_ruamel_writes_reads_the_same(data: object) -> None:
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.dump({"a": data}, out)
    text = out.getvalue()
    tree, found = parse(text, "f")
    if not any(f.code == "SF102" for f in found):  # ruamel makes aliases of repeated collections
        assert tree is not None
        assert plain(tree) == {"a": data}
