"""Keyed nodes: what rows carry through state, hot keys, and rows that are no part of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from streamflow.nodes import registry
from streamflow.sdk.state import ReadsState
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

NODES = {
    "dedupe": "type: dedupe, within: 10ms",
    "throttle": "type: throttle, per: 10ms",
    "debounce": "type: debounce, quiet: 10ms",
    "pattern": "type: pattern, within: 10ms, steps: {a: long(n) == 1, b: long(n) == 2}",
    "reduce": "type: reduce, initial: 0, expression: accumulator + long(n)",
}


def ran(
    node: str, rows: Sequence[tuple[int, str | None, int]], *, cuts: Sequence[int] = (), more: str = "", wire: str = ""
) -> TopologyDriver:
    """Rows (event time, key, number) through a node `w`."""
    driver = TopologyDriver(
        compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w: {{{node}, key: string(k)}}
  {more or "end: {type: no-op}"}
connections: [start -> w, {wire or "w -> end"}]
"""),
        nodes=registry(),
    )
    for start, stop in pairwise([0, *cuts, len(rows)]):
        items = [{"k": key, "n": number} for _, key, number in rows[start:stop]]
        driver.feed("start", items, times_ms=[at for at, _, _ in rows[start:stop]], end=False)
        driver.commit()
    return driver


def found(driver: TopologyDriver, node: str, port: str, field: str = "n") -> list[Any]:
    return [i[field] for i in driver.items(node, port)]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("kind", NODES)
def test_rows_without_a_key_are_filtered_and_counted(kind: str) -> None:
    driver = ran(NODES[kind], [(1, None, 1), (2, "a", 1), (3, None, 2)])
    assert driver.counts()["w"].filtered == 2
    assert driver.counts()["w"].rows_in == 3


@pytest.mark.parametrize("kind", NODES)
def test_a_time_that_nothing_can_be_added_to_fails(kind: str) -> None:
    driver = ran(NODES[kind], [(1, "a", 1), (-(2**62), "a", 1), (2**62, "a", 1)])
    assert [d["code"] for d in driver.dead_letters()] == ["does_not_fit"] * 2


@pytest.mark.parametrize("kind", NODES)
def test_a_key_that_fails_is_an_item_error(kind: str) -> None:
    driver = ran(NODES[kind].replace("type", "notes: x, type"), [(1, "a", 1)])
    assert driver.dead_letters() == []
    wrong = TopologyDriver(
        compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w: {{{NODES[kind]}, key: 10 // long(n)}}
connections: [start -> w]
"""),
        nodes=registry(),
    )
    wrong.feed("start", [{"k": "a", "n": 0}, {"k": "a", "n": 1}], times_ms=[1, 2])
    assert [d["code"] for d in wrong.dead_letters()] == ["division_by_zero"]


@pytest.mark.parametrize(("kind", "port"), [("dedupe", "duplicates"), ("throttle", "over")])
def test_what_does_not_pass_is_filtered_where_nothing_takes_it(kind: str, port: str) -> None:
    rows = [(1, "a", 1), (2, "a", 2), (3, "a", 3)]
    driver = ran(NODES[kind], rows)
    assert (driver.counts()["w"].filtered, found(driver, "w", port)) == (2, [])
    driver = ran(NODES[kind], rows, wire=f"w.{port} -> end")
    assert (driver.counts()["w"].filtered, found(driver, "w", port)) == (0, [2, 3])


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_hot_key_of_which_many_pass(shuffled: bool) -> None:
    """More in one step than are let through for whole columns at once."""
    order = [7 * i % 60 for i in range(60)] if shuffled else list(range(60))
    rows = [(10 * at + beside, "a", 10 * at + beside) for at in order for beside in (0, 3, 6)]
    driver = ran("type: dedupe, within: 7ms, grace: 1s", rows, wire="w.duplicates -> end")
    passed = found(driver, "w", "out")
    assert sorted(passed) == [10 * at for at in range(60)]
    assert len(found(driver, "w", "duplicates")) == 120


def test_what_waits_keeps_what_came_with_it() -> None:
    """Lineage, key and what earlier nodes made, over a commit."""
    rows = [(1, "a", 1), (2, "a", 2), (90, "b", 3)]
    more = "behind: {type: set, fields: {twice: nodes.start.n, came: meta.timestamp, at: meta.offset}}"
    driver = ran("type: debounce, quiet: 10ms", rows, cuts=[1, 2], more=more, wire="w -> behind")
    (item,) = driver.items("behind", "out")
    assert item == {"k": "a", "n": 2, "twice": 2, "came": "1970-01-01T00:00:00.002Z", "at": 1}
    (batch,) = driver.outputs["w", "out"]
    assert batch.frame.select("@ts", "@wm", "@offset", "@key").row(0) == (
        2,
        1,
        1,
        b"a",
    )  # the watermark behind what waits 10 ms


def test_a_burst_that_does_not_end_is_cut() -> None:
    rows = [(at, "a", at) for at in range(0, 1_000, 5)] + [(9_000, "b", 0)]
    driver = ran("type: debounce, quiet: 10ms, at_most: 100ms", rows, cuts=[3, 50, 120])
    assert found(driver, "w", "out") == list(range(95, 1_000, 100))


def test_a_match_holds_whole_items_and_null_where_nothing_matched() -> None:
    rows = [(1, "a", 1), (5, "a", 2), (20, "a", 1), (99, "b", 0)]
    driver = ran(NODES["pattern"], rows, cuts=[1])
    assert driver.items("w", "out") == [{"key": "a", "a": {"k": "a", "n": 1}, "b": {"k": "a", "n": 2}}]
    assert driver.items("w", "timeout") == [{"key": "a", "a": {"k": "a", "n": 1}, "b": None}]
    (batch,), (ran_out,) = driver.outputs["w", "out"], driver.outputs["w", "timeout"]
    assert (batch.frame["@ts"].item(), ran_out.frame["@ts"].item()) == (5, 30)


def test_an_item_whose_expression_fails_leaves_the_value_as_it_was() -> None:
    node = "type: reduce, initial: 100, expression: accumulator // long(n)"
    driver = ran(node, [(1, "a", 5), (2, "a", 0), (3, "a", 2)], cuts=[2])
    assert found(driver, "w", "out", "value") == [20, 10]
    assert [d["message"].split(":")[0] for d in driver.dead_letters()] == [  # type: ignore[attr-defined]
        "expression (accumulator // long(n))"
    ]


@pytest.mark.parametrize(
    ("initial", "expression", "last"),
    [
        ("0", "accumulator + 0.5", 1.0),  # widened
        ("null", "long(n) if accumulator == null else accumulator", 1),
        ("[]", "[long(n)]", [2]),
        ("''", "accumulator + string(n)", "12"),
        ("item.n", "accumulator", None),
    ],
)
def test_the_type_of_a_value_is_what_both_have_in_common(initial: str, expression: str, last: object) -> None:
    node = f'type: reduce, initial: "{initial}", expression: "{expression}"'
    if last is None:
        with pytest.raises(AssertionError, match="the item has no field"):
            ran(node, [])
        return
    assert found(ran(node, [(1, "a", 1), (2, "a", 2)]), "w", "out", "value")[-1] == last


def test_coalesced_gives_the_latest_of_each_key_once_a_step() -> None:
    rows = [(1, "a", 1), (2, "b", 5), (3, "a", 2), (4, "a", 3)]
    driver = ran(f"{NODES['reduce']}, emit: coalesced", rows, cuts=[3])
    assert found(driver, "w", "out", "value") == [5, 3, 6]
    assert driver.counts()["w"].absorbed == 1


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("dedupe", {"passed": [datetime(1970, 1, 1, 0, 0, 0, 1_000, UTC)]}),
        ("throttle", {"passed": [1]}),
        ("debounce", {"@item": [b'{"k":"a","n":2}']}),
        ("pattern", {"@item": [b'{"k":"a","n":1}', b'{"k":"a","n":2}']}),
        ("reduce", {"value": [3]}),
    ],
)
def test_what_is_kept_can_be_read(kind: str, kept: dict[str, object]) -> None:
    driver = ran(NODES[kind], [(1, "a", 1), (2, "a", 2)], cuts=[1])
    ((name, store),) = driver.stores.items()
    graph = next(g for g in driver._graphs.values() if "w" in g.counts)
    operator = graph.operator("w")
    assert isinstance(operator, ReadsState)
    rows = operator.read_state({name[1]: list(store.scan())})
    assert set(rows["@key"]) == {b"a"}
    assert {c: rows[c].to_list() for c in kept} == kept
