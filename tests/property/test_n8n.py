"""Whatever an export holds, it is imported or refused, in bounded time and size, with no error that is not meant."""

from __future__ import annotations

import contextlib
import copy
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamflow.cli.import_ import check_text
from streamflow.expressions import typecheck
from streamflow.model.types import ANY
from streamflow.nodes import registry
from streamflow.sdk.expression import Expression, Scope
from streamflow.workflow.load import load_text
from streamflow.workflow.n8n import import_export, read_exports
from streamflow.workflow.n8n.js_parse import parse
from streamflow.workflow.n8n.model import Value
from streamflow.workflow.n8n.printer import PRINTED_CHARS_MAX, Names
from streamflow.workflow.n8n.problems import ImportRefused, NoEquivalent
from streamflow.workflow.n8n.values import Values

SECONDS_MAX = 5.0
BYTES_MAX = 64 << 20
KINDS = registry().kinds
FIXTURES = sorted((Path(__file__).parents[1] / "golden" / "n8n").glob("*.json"))

PIECES = st.sampled_from(
    [
        *[
            "$json",
            "$json.a",
            "$json['b]",
            "$('N')",
            ".item",
            ".json",
            ".first()",
            ".all()",
            "$node",
            "$input",
            "$now",
            "$",
            "$vars.x",
            "$items()",
            "Date",
            "Math.round",
            "null",
            "true",
            "undefined",
            "1",
            "0x",
            "1e9",
            ".5",
            "'t'",
            "`a${",
            "}`",
            "`",
            "/x/g",
            "/",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            ";",
            "?",
            "?.",
            "??",
            "&&",
            "||",
            "!",
            "===",
            "!==",
            "==",
            "<",
            "+",
            "-",
            "*",
            "**",
            "%",
            "=>",
            "...",
            "=",
            ".length",
            ".split(',')",
            ".replace('a','b')",
            ".match(/(a)/)[1]",
            ".toFixed(2)",
            ".toFormat('yyyy')",
            "//",
            "/*",
            "*/",
            "\\",
            "'",
            '"',
            "é",
            "in",
            "if",
            "function",
            "async",
            "x",
        ],
        *("new ", "typeof ", " ", "\n", "\u2028", "\x00", '"\\u{1f600}"', ".map(x => x)", ".plus({days: 1})"),
    ]
)
SOURCES = st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=40))


@settings(max_examples=400, deadline=None)
@given(SOURCES)
@example("(" * 5_000)
@example("a." * 3_000 + "b")
@example("`${" * 200 + "1" + "}`" * 200)
@example("!" * 5_000 + "a")
@example("a||(" * 38 + "a" + ")" * 38)
@example("((a||b)||(a&&b))" * 3)
@example("x".join(["$json.a ? "] * 50))
@example("/" * 10_000)
@example('"' * 9_999)
@example("/*" * 9_000)
def test_any_source_is_read_or_named(source: str) -> None:
    begin = time.monotonic()
    with contextlib.suppress(NoEquivalent):
        parse(source)
    assert time.monotonic() - begin < SECONDS_MAX


@settings(max_examples=400, deadline=None)
@given(
    st.builds(
        lambda a, b, c: f"={a}{{{{ {b} }}}}{c}", st.sampled_from(["", "t ", "{{"]), SOURCES, st.sampled_from(["", " t"])
    )
)
def test_what_is_printed_is_an_expression_of_this_language(text: str) -> None:
    names = Names(nodes={"N": "n"})
    try:
        printed = Values(names).value(Value(text, "p"))
    except NoEquivalent:
        return
    assert len(printed.text) <= PRINTED_CHARS_MAX
    scope = Scope(item=ANY, vars=dict.fromkeys((*names.vars, *names.texts), ""), nodes={"n": ANY})
    findings = typecheck(Expression(printed.text), scope)[1]
    # Types may clash, names of functions and the form may not.
    assert {f.code for f in findings} & {"SF210", "SF211", "SF213", "SF216"} == set(), (text, printed.text, findings)


SCALARS = st.sampled_from([None, True, False, 0, 2, -1.5, "", "a", "={{ $json.a }}", "=", "main", "x" * 50])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "main", "node", "values"]), inner, max_size=3),
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside one."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(p for key, one in inner for p in places(one, (*path, key)))]


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    tree = copy.deepcopy(tree)
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return tree


@st.composite
def exports(draw: st.DrawFn) -> bytes:
    """A fixture with some of its values replaced by others, or taken from elsewhere in it."""
    tree = json.loads(draw(st.sampled_from(FIXTURES)).read_text(encoding="utf-8"))
    for _ in range(draw(st.integers(1, 4))):
        paths = places(tree)
        path = paths[draw(st.integers(0, len(paths) - 1))]
        value = draw(JSON)
        if draw(st.booleans()):
            value = tree
            for key in paths[draw(st.integers(0, len(paths) - 1))]:
                value = value[key]
        tree = changed(tree, path, value)
        if len(json.dumps(tree)) > 100_000:
            break
    return json.dumps(tree).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(exports())
def test_any_export_becomes_a_document_that_checks(data: bytes) -> None:
    begin = time.monotonic()
    try:
        found = read_exports(data, "x")
    except ImportRefused:
        return
    for export in found[:2]:
        made = import_export(export, KINDS, check_text)
        assert made.ok, [str(f) for f in made.findings if f.severity == "error"]
        assert len(made.report.nodes) == len(export.nodes)
        assert len(made.report.connections) == len(export.wires)
        document, findings = load_text(made.text)
        assert document is not None
        assert not findings
    assert time.monotonic() - begin < 20 * SECONDS_MAX


def small(value: Any) -> bytes:
    tree = {"nodes": [value, {"type": "x", "parameters": value}], "connections": {"x": value}}
    return json.dumps(tree).encode()


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), JSON.map(small)))
@example(b'{"nodes": [' + b'{"a":' * 90 + b"1" + b"}" * 90 + b"]}")
@example(b'"' * 100_000)
@example(b"\\" * 100_000)
@example(b'{"nodes": [{"name": "' + b"x" * 1_000_000 + b'"}]}')
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    tracemalloc.start()
    try:
        for export in read_exports(data, "x"):
            assert import_export(export, KINDS, check_text).ok
    except ImportRefused:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BYTES_MAX
