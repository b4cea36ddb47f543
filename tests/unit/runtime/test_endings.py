"""Executions that have an order: which rows end, and where."""

from __future__ import annotations

import polars as pl
import pytest

from streamflow.model.batch import EXECUTION, ROW, TS, Batch
from streamflow.model.types import LONG, PAYLOAD, frame_schema, record_of
from streamflow.nodes import builtin, parts, registry
from streamflow.operators.control import CANCEL, CONTROL, KEPT_MS, ORDERS_MAX, Order, Orders, _orders, apart, said
from streamflow.operators.lost_branches import Lost
from streamflow.operators.signal_waits import SignalWaitOperator
from streamflow.operators.waiting import WaitOperator
from streamflow.runtime.build import build_graph
from streamflow.runtime.context import StepClock
from streamflow.runtime.control import AtNode, Endings, Fresh
from streamflow.runtime.graph import Graph
from streamflow.runtime.parking import Parking
from streamflow.state.memory import MemoryStore
from tests.simulation.running import compiled

WORKFLOW = """
workflow: sorts
nodes:
  lines: {type: manual, items: [{n: 1}]}
  sorted: {type: sort, by: long(n)}
  numbered: {type: aggregate, fields: {rows: {function: count}}}
  out: {type: publish, topic: out, format: json}
connections: [lines -> sorted -> numbered -> out]
policies: {executions: all}
"""


def order(*nodes: str, at_ms: int = 0) -> Order:
    return Order("cancelled", at_ms, frozenset(nodes))


@pytest.fixture
def graph() -> tuple[Graph, Orders]:
    topology = compiled(WORKFLOW)
    stage = topology.stage("lines")
    stores = {(s.node, s.name): MemoryStore() for s in stage.stores}
    made = build_graph(topology, stage, registry(), stores, StepClock(), partition=0, functions={})
    orders = Orders()
    made.endings = Endings(stage, orders)
    return made, orders


def push(graph: Graph, execution: str, *numbers: int) -> None:
    (schema,) = {plan.inputs["in"] for plan in graph._stage.nodes if plan.id == "sorted"}
    columns = {
        ROW: pl.Series(range(len(numbers)), dtype=pl.UInt32),
        EXECUTION: [execution] * len(numbers),
        PAYLOAD: [f'{{"n": {n}}}'.encode() for n in numbers],
    }
    graph.step({"lines": Batch(pl.DataFrame(columns), schema)})


def test_what_a_node_keeps_for_the_end_of_an_execution_is_not_given(graph: tuple[Graph, Orders]) -> None:
    made, orders = graph
    push(made, "one", 3, 1, 2)
    push(made, "other", 5, 4)
    orders.add("one", order())
    assert made.end("one").records == {}
    counts = made.take_counts()
    assert (counts["sorted"].absorbed, counts["sorted"].cancelled, counts["sorted"].failed_from_state) == (5, 3, 3)
    assert counts["numbered"].rows_in == 0
    (rows,) = made.end("other").records["out"]
    assert rows.frame.select(c for c in rows.frame.columns if not c.startswith("@")).rows() == [(2,)]


def test_rows_that_come_end_at_the_first_node(graph: tuple[Graph, Orders]) -> None:
    made, orders = graph
    orders.add("one", order())
    push(made, "one", 3, 1)
    push(made, "other", 4)
    counts = made.take_counts()["sorted"]
    assert (counts.rows_in, counts.cancelled, counts.absorbed) == (3, 2, 1)


def test_orders_are_bounded_and_age() -> None:
    orders = Orders()
    for n in range(ORDERS_MAX + 10):
        orders.add(str(n), order(at_ms=n))
    assert len(orders.by_execution) == ORDERS_MAX
    assert "9" not in orders.by_execution
    assert "9" not in orders.fresh
    orders.age(KEPT_MS + 50)
    assert next(iter(orders.by_execution)) == "50"
    assert len(orders.take_fresh()) == ORDERS_MAX - 40
    assert not orders.take_fresh()


def test_orders_for_nodes_add_up() -> None:
    orders = Orders()
    orders.add("a", order("x"))
    orders.add("a", order("y"))
    assert orders.by_execution["a"].nodes == {"x", "y"}
    orders.add("a", order())
    assert orders.by_execution["a"].nodes == frozenset()


def test_only_rows_of_the_execution_and_the_node_end() -> None:
    batch = Batch(pl.DataFrame({PAYLOAD: [b"1", b"2", b"3"]}), compiled(WORKFLOW).stage("lines").inputs[0].schema)
    ids = pl.Series(["a", None, "b"])
    going, over = apart(batch, ids, {"a": order(), "b": order("x")}, "y")
    assert going.frame[PAYLOAD].to_list() == [b"2", b"3"]
    assert over is not None
    assert over.frame["@error_code"].to_list() == ["cancelled"]
    assert apart(batch, ids, {"b": order("x")}, "y") == (batch, None)


@pytest.mark.parametrize(
    ("by", "reason", "text"),
    [(None, None, "cancelled"), ("kim", None, "cancelled by kim"), ("kim", "old", "cancelled by kim: old")],
)
def test_a_cancel_in_words(by: str | None, reason: str | None, text: str) -> None:
    assert said(by, reason) == text
    assert len(said("k" * 1_000, "r" * 1_000)) < 500


def test_kinds_that_say_so_hold_rows() -> None:
    """What the compiler is told of a kind is what its operator can do."""
    assert {kind.spec.kind for kind in (*builtin(), *parts()) if kind.spec.holds} == {"wait", "wait.signal"}
    for operator in (WaitOperator, SignalWaitOperator, Parking):
        assert hasattr(operator, "release")
        assert hasattr(operator, "wake")


def test_an_order_is_no_newer_than_its_record_nor_than_the_step() -> None:
    """By its record a task that begins decides from where it reads."""
    times = {"as told": (5, 7), "ahead": (9, 7), "ahead of the clock as well": (30, 40)}
    dtypes = frame_schema(CONTROL)
    told = {name: pl.Series([None] * len(times), dtype=dtype) for name, dtype in dtypes.items()} | {
        "execution": pl.Series(list(times)),
        "action": pl.Series([CANCEL] * len(times)),
        "time": pl.Series([time for time, _ in times.values()]).cast(dtypes["time"]),
        TS: pl.Series([ts for _, ts in times.values()]),
    }
    found = [(execution, given.at_ms) for execution, _, _, given in _orders(pl.DataFrame(told), 20)]
    assert found == [("as told", 5), ("ahead", 7), ("ahead of the clock as well", 20)]


def test_rows_that_a_node_keeps_may_end_for_two_reasons_at_once() -> None:
    """They are of no step, so they have no `@row` by which they could be put in order."""
    schema = record_of({"n": LONG})
    frame = pl.DataFrame({EXECUTION: ["a", "b", "c", "d"], "n": [1, 2, 3, 4]})
    orders = Fresh(
        cancels={"c": Order("told to", 0)},
        lost={"a": Lost("another was first", 0, frozenset({"w"})), "d": Lost("", 0, frozenset({"elsewhere"}))},
    )
    on, over = AtNode(orders, "w").apart(Batch(frame, schema))
    assert on.frame["n"].to_list() == [2, 4]
    assert over is not None
    assert dict(zip(over.frame["n"], over.frame["@error_code"])) == {1: "outrun", 3: "cancelled"}
