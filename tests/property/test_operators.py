"""Node kinds: how a stream is cut into steps, and what is aborted and replayed, changes no output.

Method: run a node over a random stream in one step, then over random cuts with random steps aborted and replayed by a
new operator, and compare everything that leaves it. The kit checks the accounting of every step and that reserved
columns, dtypes and order of arrival hold.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, DOUBLE, LONG, STRING, Schema, array_of, record_of
from streamflow.testing.operator_kit import Arrival, Ran, make_node, run_node

TYPED = record_of(
    {
        "id": LONG,
        "name": STRING.optional(),
        "x": DOUBLE.optional(),
        "n": LONG.optional(),
        "tags": array_of(LONG).optional(),
    }
)
FUNCTIONS = {
    "f:twice": lambda item: [item, {**item, "id": -1}] if item["id"] % 3 else {**item, "id": 7},
    "f:none": lambda item: item if item["id"] % 2 else None,
    "f:fails": lambda item: {"q": 10 // (item["id"] % 4)},
    "f:frame": lambda frame: frame.with_columns(y=pl.col("id") * 2),
    "f:drop": lambda frame: frame.filter(pl.col("id") % 2 == 0),
    "f:raises": lambda frame: frame if not (frame["id"] % 5 == 4).any() else 1 // 0,
    "f:whole": lambda frame: frame.select(
        pl.col("id").sum(), pl.lit("s").alias("name"), pl.col("x", "n", "tags").first()
    ),
}
AGGREGATES = {
    "count": {"function": "count"},
    "some": {"function": "count", "of": "x"},
    "sum": {"function": "sum", "of": "n"},
    "total": {"function": "sum", "of": "x"},
    "mean": {"function": "mean", "of": "x"},
    "average": {"function": "mean", "of": "n"},
    "low": {"function": "min", "of": "x"},
    "high": {"function": "max", "of": "x"},
    "first": {"function": "first", "of": "name"},
    "last": {"function": "last", "of": "name"},
}
SLOW_AGGREGATES = {
    "all": {"function": "collect", "of": "n"},
    "kinds": {"function": "count_distinct", "of": "name"},
    "names": {"function": "join", "of": "name", "separator": "-"},
}
BOTH: list[tuple[str, dict[str, Any]]] = [
    ("if", {"when": "id > 3"}),
    ("filter", {"when": "10 // id > 1"}),
    ("set", {"fields": {"half": "10 // id", "again": "half + 1"}, "remove": ["n"]}),
    ("set", {"fields": {"id": "id * 2"}, "keep": ["name"]}),
    ("rename", {"fields": {"name": "title"}}),
    ("template", {"text": "{{ name }}: {{ 10 // id }}"}),
    ("switch", {"cases": [{"when": "id == 1", "port": "one"}, {"when": "10 // id > 2", "port": "two"}]}),
    ("switch", {"mode": "all", "value": "id", "cases": [{"equals": 1, "port": "a"}, {"equals": 1, "port": "b"}]}),
    ("split", {"field": "tags", "keep": True, "index": "at"}),
    ("split", {"field": "tags"}),
    ("repartition", {"key": "id"}),
    ("publish", {"topic": "t", "key": "name", "headers": {"id": "10 // id"}}),
    ("stop-and-error", {"message": "{{ id }}", "when": "id == 2"}),
    ("limit", {"count": 3, "offset": 1}),
    ("limit", {"count": 3, "offset": 1, "scope": "stream"}),
    ("batch", {"size": 3}),
    ("batch", {}),
    ("batch", {"size": 3, "scope": "stream"}),
    ("sort", {"by": [{"value": "double(x)", "descending": True}, {"value": "string(name)", "nulls": "first"}]}),
    ("sort", {"by": [{"value": "10 // long(id)"}]}),
    ("aggregate", {}),
    ("aggregate", {"by": {"kind": "name"}}),
    ("function", {"function": "f:twice"}),
    ("function", {"function": "f:none"}),
    ("code", {"function": "f:fails"}),
    ("no-op", {}),
    ("pass", {}),
    ("merge", {}),
    ("merge", {"mode": "combine_by_key", "keys": ["name"], "join": "outer"}),
    ("merge", {"mode": "combine_by_position", "join": "left"}),
    ("merge", {"mode": "combine_all"}),
    ("merge", {"mode": "choose", "prefer": "right"}),
]
TYPED_ONLY: list[tuple[str, dict[str, Any]]] = [
    ("aggregate", {"fields": AGGREGATES}),
    ("aggregate", {"fields": AGGREGATES, "by": {"kind": "name", "even": "n % 2"}}),
    ("aggregate", {"fields": AGGREGATES | SLOW_AGGREGATES, "by": {"kind": "name"}}),
    ("function", {"function": "f:frame", "mode": "frame"}),
    ("function", {"function": "f:drop", "mode": "frame"}),
    ("function", {"function": "f:raises", "mode": "frame"}),
    ("code", {"function": "f:whole", "mode": "frame", "scope": "execution"}),
]
CASES = [
    *((kind, params, schema) for kind, params in BOTH for schema in (TYPED, ANY)),
    *((kind, params, TYPED) for kind, params in TYPED_ONLY),
]

numbers = st.floats(-1e6, 1e6, width=32)
items = st.fixed_dictionaries(
    {
        "id": st.integers(0, 9),
        "name": st.none() | st.sampled_from(["a", "b", "c", "é"]),
        "x": st.none() | numbers,
        "n": st.none() | st.integers(-100, 100),
        "tags": st.none() | st.lists(st.integers(0, 5), max_size=3),
    }
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[tuple[dict[str, Any], int, str]], list[int], list[int]]:
    """Rows (item, execution, port), where steps end, and which steps are aborted once."""
    rows = draw(
        st.lists(st.tuples(items, st.integers(0, 2), st.sampled_from(["left", "right"])), min_size=1, max_size=14)
    )
    cuts = draw(st.lists(st.integers(1, max(len(rows) - 1, 1)), max_size=5))
    aborted = draw(st.lists(st.integers(0, 5), max_size=3))
    return rows, cuts, aborted


def left_behind(ran: Ran) -> object:
    """All that left the node, but for where rows stood in their steps."""
    outputs = {}
    for port, frame in ran.outputs.items():
        if frame.height:
            kept = [c for c in sorted(frame.columns) if c != "@row"]
            outputs[port] = [repr(row) for row in frame.select(kept).rows()]
    failed = [repr(f) for f in ran.failed]
    return outputs, failed, ran.filtered


@pytest.mark.parametrize("extent", ["item", "run"])
@pytest.mark.parametrize(("kind", "params", "schema"), CASES, ids=lambda v: v if isinstance(v, str) else None)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams())
def test_steps_and_replays_leave_no_trace(
    kind: str, params: dict[str, Any], schema: Schema, extent: Extent, stream: Any
) -> None:
    rows, cuts, aborted = stream
    node = make_node(kind, **params)
    ports = [p.name for p in node.input_ports()]
    arrivals = [
        # An execution of extent item is wholly inside one step: there each row is one, unless it is never cut.
        Arrival(
            item=item,
            port=port if port in ports else ports[0],
            execution=f"run:{execution}" if extent == "run" else f"item:{at}",
            ts=at * 10,
            key=b"k",
            path=b"",
        )
        for at, (item, execution, port) in enumerate(rows)
    ]
    if extent == "run":  # executions follow one another
        arrivals.sort(key=lambda a: a.execution)
    whole = run_node(node, arrivals, schema=schema, extent=extent, functions=FUNCTIONS)
    pieces = run_node(node, arrivals, schema=schema, extent=extent, cuts=cuts, aborted=aborted, functions=FUNCTIONS)
    assert left_behind(pieces) == left_behind(whole)
    leftover = {name for name, store in pieces.stores.items() if store.base} if extent == "run" else set()
    if params.get("scope") != "stream":
        assert not leftover, "state of executions that have ended is dropped"


@pytest.mark.parametrize(("kind", "params", "schema"), CASES, ids=lambda v: v if isinstance(v, str) else None)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams())
def test_executions_inside_a_step_come_out_as_those_that_span_steps(
    kind: str, params: dict[str, Any], schema: Schema, stream: Any
) -> None:
    """Method: the same executions once as extent item in a single step, once as runs cut into steps."""
    rows, cuts, _ = stream
    node = make_node(kind, **params)
    if params.get("scope") == "stream":
        return
    ports = [p.name for p in node.input_ports()]
    arrivals = sorted(
        (
            Arrival(item=item, port=port if port in ports else ports[0], execution=f"e:{execution}", ts=at)
            for at, (item, execution, port) in enumerate(rows)
        ),
        key=lambda a: a.execution,
    )
    inside = run_node(node, arrivals, schema=schema, extent="item", functions=FUNCTIONS)
    across = run_node(node, arrivals, schema=schema, extent="run", cuts=cuts, functions=FUNCTIONS)
    for port in {*inside.outputs, *across.outputs}:
        assert list(map(repr, inside.items(port))) == list(map(repr, across.items(port)))
    assert sorted(map(repr, inside.failed)) == sorted(map(repr, across.failed))
