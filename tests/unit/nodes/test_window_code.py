"""reduce and code as functions of windows: what is refused, what fails, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from streamflow import Workflow
from streamflow.compiler import compile_document
from streamflow.model.types import DOUBLE, LONG, STRING, record_of
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.operator_kit import check_node, make_node
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

ITEM = record_of({"k": STRING, "n": LONG, "x": DOUBLE})
HERE = "tests.unit.nodes.test_window_code"


class Spread:
    def init(self) -> list[float]:
        return []

    def add(self, state: list[float], item: Any) -> list[float]:
        if item < 0:
            raise ValueError("below zero")
        return [min([item, *state[:1]]), max([item, *state[1:]])]

    def merge(self, a: list[float], b: list[float]) -> list[float]:
        return [min(a[0], b[0]), max(a[1], b[1])]

    def result(self, state: list[float]) -> float:
        return state[1] - state[0]


def made() -> Spread:
    return Spread()


class Sums:
    """By frames; its result is a record."""

    def init(self) -> Mapping[str, float]:
        return {"n": 0, "x": 0.0}

    def add_frame(self, state: Mapping[str, float], frame: pl.DataFrame) -> Mapping[str, float]:
        if (frame["n"] < 0).any():
            raise ValueError("below zero")
        return {"n": state["n"] + frame["n"].sum(), "x": state["x"] + frame["x"].sum()}

    def result(self, state: Mapping[str, float]) -> Mapping[str, float]:
        if state["n"] == 13:
            raise ValueError("unlucky")
        return state


class Hoard:
    def init(self) -> list[str]:
        return []

    def add(self, state: list[str], item: int) -> list[str]:
        return [*state, "x" * item]

    def result(self, state: list[str]) -> int:
        return len(state)


def found(fields: Mapping[str, object], function: Any = None, **params: object) -> list[str]:
    """Findings of a window over ITEM."""
    node = make_node("window", key="k", fields=fields, **{"size": "10ms", **params})
    ref = next((f["aggregator"] for f in fields.values() if isinstance(f, dict) and "aggregator" in f), "m:f")
    _, findings = check_node(node, {"in": ITEM}, functions={ref: function})
    return [f"{f.message} {f.mend}" for f in findings]


SESSION = {"shape": "session", "gap": "10ms", "size": None}
SUM = {"function": "reduce", "initial": 0, "expression": "accumulator + n"}


@pytest.mark.parametrize(
    ("fields", "params", "said"),
    [
        ({"function": "reduce", "initial": 0}, {}, "reduce needs `expression`. Give the next value"),
        ({**SUM, "of": "n"}, {}, "reduce has no `of`. Leave it out"),
        ({**SUM, "combine": "accumulator + other"}, {}, "`combine` in session and sliding windows only. Leave it out."),
        (SUM, SESSION, "reduce needs `combine`, as values are put together there. Say what two values come to"),
        ({**SUM, "combine": "accumulator + n"}, SESSION, "n"),
        ({**SUM, "combine": "accumulator + long(meta.offset)"}, SESSION, "does not depend on an item"),
        ({**SUM, "expression": "accumulator + m"}, {}, "m"),
        ({**SUM, "initial": '"a"'}, {}, ""),
        ({"function": "sum", "of": "n", "initial": 0}, {}, "sum has no `initial`. Leave it out."),
        ({"function": "code", "of": "n"}, {}, "code needs `aggregator`. Name a class"),
        ({"function": "code", "aggregator": "m:f"}, {}, "code needs `of`"),
    ],
)
def test_what_does_not_go_together_is_told(
    fields: Mapping[str, object], params: Mapping[str, object], said: str
) -> None:
    (message,) = found({"f": fields}, Spread, **params)
    assert said in message


@pytest.mark.parametrize(
    ("function", "params", "said"),
    [
        (Sums, SESSION, "has no method `merge`"),
        (object, {}, "has no method `init`"),
        (lambda: 1 / 0, {}, "the aggregator could not be made: ZeroDivisionError"),
    ],
)
def test_an_aggregator_that_lacks_something_is_told(function: Any, params: Mapping[str, object], said: str) -> None:
    assert said in found({"f": {"function": "code", "aggregator": "m:f", "of": "n"}}, function, **params)[0]


def test_aggregate_has_neither() -> None:
    _, findings = check_node(make_node("aggregate", fields={"f": SUM}), {"in": ITEM})
    assert "reduce is a function of windows" in findings[0].message


def fed(topology: Topology, rows: Sequence[tuple[int, str, int]], **options: Any) -> TopologyDriver:
    """Rows (event time, key, number); every number also as a double."""
    driver = TopologyDriver(topology, nodes=registry(), **options)
    items = [{"k": k, "n": n, "x": float(n)} for _, k, n in rows]
    driver.feed("start", items, keys=[None] * len(rows), times_ms=[at for at, _, _ in rows], end=False)
    driver.commit()
    return driver


def windowed(window: str) -> Topology:
    return compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  typed: {{type: set, keep: [], fields: {{k: string(k), n: long(n), x: double(x)}}}}
  w: {{type: window, key: k, {window}}}
connections: [start -> typed -> w]
""")


def values(driver: TopologyDriver, *names: str) -> list[tuple[object, ...]]:
    return [tuple(item[n] for n in names) for item in driver.items("w", "out")]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("step_rows", [1, 2, 100])
@pytest.mark.parametrize("emit", ["update", "close"])
def test_an_item_that_fails_is_in_none_of_its_windows(emit: str, step_rows: int) -> None:
    """Nor in the other functions, whichever of them it fails for."""
    topology = windowed(f"""shape: hopping, size: 20ms, advance: 10ms, emit: {emit}, fields: {{
        n: {{function: count}}, sum: {{function: reduce, initial: 0, expression: accumulator + 60 // n}},
        spread: {{function: code, aggregator: "{HERE}:Spread", of: x}},
        sums: {{function: code, aggregator: "{HERE}:Sums", of: item}}}}""")
    rows = [(12, "a", 4), (13, "a", 0), (14, "b", -1), (15, "a", 6), (16, "b", 2), (90, "c", 5)]
    driver = fed(topology, rows, step_rows=step_rows)
    assert [(d["code"], d["item"]["n"]) for d in driver.dead_letters()] == [  # type: ignore[index]
        ("division_by_zero", 0),
        ("exception", -1),
    ]
    seen = values(driver, "k", "n", "sum", "spread", "sums")
    assert seen[-2 if emit == "close" else 2] == ("a", 2, 25, 2.0, {"n": 10, "x": 10.0})
    assert ("b", 1, 30, 0.0, {"n": 2, "x": 2.0}) in seen


@pytest.mark.parametrize("emit", ["update", "close"])
def test_a_result_that_fails_fails_its_window(emit: str) -> None:
    topology = windowed(
        f'size: 10ms, emit: {emit}, fields: {{f: {{function: code, aggregator: "{HERE}:Sums", of: item}}}}'
    )
    driver = fed(topology, [(1, "a", 13), (2, "b", 1), (20, "z", 1)])
    (dead,) = driver.dead_letters()
    assert (dead["code"], dead["message"]) == ("exception", "fields.f: ValueError: unlucky")
    assert ("b", {"n": 1, "x": 1.0}) in values(driver, "k", "f")


def test_a_state_beyond_the_bound_fails_the_item_that_makes_it_so() -> None:
    topology = windowed(
        f'shape: unbounded, emit: update, fields: {{f: {{function: code, aggregator: "{HERE}:Hoard", of: n}}}}'
    )
    driver = fed(topology, [(1, "a", 600_000), (2, "a", 600_000), (3, "a", 100), (4, "b", 600_000)])
    assert values(driver, "k", "f") == [("a", 1), ("a", 2), ("b", 1)]
    (dead,) = driver.dead_letters()
    assert dead["code"] == "too_large"
    assert "more than 1000000; keep less of each item" in str(dead["message"])


def test_classes_and_factories_are_handed_to_the_builder() -> None:
    wf = Workflow("w")
    start = wf.event("start", topic="in", format="json")
    fields = {
        "spread": {"function": "code", "aggregator": Spread, "of": "double(n)"},
        "made": {"function": "code", "aggregator": made, "of": "double(n)"},
    }
    start >> wf.window("by-key", key="string(k)", shape="session", gap="5ms", fields=fields)
    document = wf.document()
    topology, findings = compile_document(document, registry())
    assert topology is not None, findings
    driver = TopologyDriver(topology, nodes=registry(), functions=document.functions)
    driver.feed("start", [{"k": "a", "n": n} for n in (3, 5, 1)], keys=[None] * 3, times_ms=[0, 2, 90], end=False)
    (item,) = driver.items("by-key", "out")
    assert (item["spread"], item["made"]) == (2.0, 2.0)  # type: ignore[index, call-overload]


def test_with_gone_connected_the_result_is_a_changing_table() -> None:
    topology = compiled("""
workflow: w
nodes:
  start: {type: event, topic: in, format: json}
  w:
    type: window
    key: string(k)
    shape: unbounded
    emit: update
    fields: {f: {function: reduce, initial: 0, expression: accumulator + 60 // long(n)}}
  old: {type: no-op}
  new: {type: no-op}
connections: [start -> w, w.gone -> old, w.out -> new]
""")
    driver = fed(topology, [(1, "a", 4), (2, "a", 0), (3, "a", 6)])
    assert values(driver, "key", "f") == [("a", 15), ("a", 25)]
    assert [item["f"] for item in driver.items("w", "gone")] == [15]  # type: ignore[index, call-overload]
    assert [d["code"] for d in driver.dead_letters()] == ["division_by_zero"]
