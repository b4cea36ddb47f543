"""Nodes that need all rows of an execution, where these come at different times."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.operators.gathering import STORE
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.serialize import from_json, to_json
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled

HEAD = """\
workflow: w
nodes:
  start: {type: event, topic: in, format: json, key: k}
  late: {type: wait, for: long(wait)}
"""


def text(nodes: str, wires: str) -> str:
    sinks = "".join(
        f"  {s}: {{type: publish, topic: {s}, format: json}}\n" for s in ("out", "over", "behind") if s in wires
    )
    return f"{HEAD}  {nodes}\n{sinks}connections: [{wires}]\n"


BRANCHES = "start -> late -> both.left, start -> both.right, both -> out"


def driven(nodes: str, wires: str, items: list[dict[str, Any]], *, pass_ms: int | None = None) -> TopologyDriver:
    driver = TopologyDriver(compiled(text(nodes, wires)), nodes=registry())
    driver.feed("start", items)
    driver.pass_time(pass_ms)
    return driver


def kept(driver: TopologyDriver) -> list[bytes]:
    """Entries of gathers, but for their counts."""
    return [k for (_, name), store in driver.stores.items() if name == STORE for k, _ in store.scan() if k != b"c"]


def test_an_execution_goes_on_when_its_last_row_has_come() -> None:
    nodes = "both: {type: merge, mode: combine_by_position}"
    driver = driven(nodes, BRANCHES, [{"k": "a", "wait": 500}, {"k": "b", "wait": 0}], pass_ms=499)
    assert [item["k"] for item in driver.items("out")] == ["b"]  # type: ignore[index]
    driver.pass_time(1)
    assert driver.items("out") == [
        {"k": "b", "wait": 0, "k_right": "b", "wait_right": 0},
        {"k": "a", "wait": 500, "k_right": "a", "wait_right": 500},
    ]
    assert kept(driver) == []


def test_a_branch_that_was_not_taken_is_not_waited_for() -> None:
    nodes = "some: {type: if, when: k = 1}\n  both: {type: merge, mode: choose, prefer: left}".replace("= 1", '== "a"')
    wires = "start -> some, some.true -> late -> both.left, some.false -> both.right, both -> out"
    driver = driven(nodes, wires, [{"k": "b", "wait": 9}, {"k": "a", "wait": 9}], pass_ms=1)
    assert [item["k"] for item in driver.items("out")] == ["b"]  # type: ignore[index]
    driver.pass_time()
    assert [item["k"] for item in driver.items("out")] == ["b", "a"]  # type: ignore[index]
    assert kept(driver) == []


def test_rows_that_fail_on_the_way_are_not_waited_for() -> None:
    nodes = "bad: {type: set, fields: {x: 1 // long(d)}}\n  both: {type: merge, mode: combine_by_position, join: outer}"
    wires = "start -> late -> bad -> both.left, start -> both.right, both -> out"
    driver = driven(nodes, wires, [{"k": "a", "wait": 5, "d": 0}, {"k": "b", "wait": 5, "d": 1}])
    assert len(driver.items("out")) == 2
    assert [letter["node"] for letter in driver.dead_letters()] == ["bad"]
    assert kept(driver) == []


TIMED = "both: {type: merge, mode: combine_by_position, join: outer, timeout: 1s}"
SLOW = [{"k": "a", "wait": 5_000}, {"k": "b", "wait": 10}]


def test_what_is_there_when_time_is_over_goes_on_and_the_rest_leaves_by_its_own_port() -> None:
    driver = driven(TIMED, f"{BRANCHES}, both.timeout -> over, both.late -> behind", SLOW)
    assert [item["k"] for item in driver.items("out")] == ["b"]  # type: ignore[index]
    assert driver.items("over") == [{"k": "a", "wait": 5_000}]
    assert driver.items("behind") == [{"left": {"k": "a", "wait": 5_000}, "right": None}]
    assert driver.dead_letters() == []
    assert kept(driver) == []


def test_without_ports_for_them_they_leave_by_out_and_fail() -> None:
    driver = driven(TIMED, BRANCHES, SLOW)
    assert driver.items("out")[1] == {"k": "a", "wait": 5_000}
    assert [(letter["node"], letter["code"]) for letter in driver.dead_letters()] == [("both", "too_late")]


def test_the_first_branch_wins() -> None:
    nodes = "left: {type: set, fields: {by: '\"left\"'}}\n  right: {type: set, fields: {by: '\"right\"'}}\n"
    nodes += "  more: {type: wait, for: 10ms}\n  both: {type: merge, mode: first}"
    wires = "start -> late -> left -> both.left, start -> more -> right -> both.right, both -> out"
    for others, filtered in (("cancel", 0), ("finish", 2)):
        chosen = nodes.replace("mode: first", f"mode: first, others: {others}")
        driver = driven(chosen, wires, [{"k": "a", "wait": 5}, {"k": "b", "wait": 15}])
        assert [(i["k"], i["by"]) for i in driver.items("out")] == [("a", "left"), ("b", "right")]  # type: ignore[index]
        counts = driver.counts()
        assert counts["both.gather"].filtered == filtered
        assert counts["late"].cancelled + counts["more"].cancelled == 2 - filtered
        assert kept(driver) == []


def test_first_in_one_step_is_what_is_first_in_the_order_of_arrival() -> None:
    nodes = "some: {type: filter, when: long(wait) > 0}\n  both: {type: merge, mode: first}"
    wires = "start -> some -> both.left, start -> [both.right, late], both -> out, late -> over"
    driver = driven(nodes, wires, [{"k": "a", "wait": 5}, {"k": "b", "wait": 0}])
    assert [item["k"] for item in driver.items("out")] == ["a", "b"]  # type: ignore[index]
    assert driver.counts()["both"].filtered == 1


@pytest.mark.parametrize(
    ("bound", "said"),
    [("items_max: 1", "items_max"), ("bytes_max: 80", "bytes_max"), ("executions_max: 1", "executions_max")],
)
def test_what_is_beyond_the_bounds_fails(bound: str, said: str) -> None:
    nodes = f"parts: {{type: split, field: parts, keep: true}}\n  both: {{type: merge, mode: combine_all, {bound}}}"
    wires = "start -> late -> both.left, start -> parts -> both.right, both -> out"
    items = [{"k": k, "wait": 5, "parts": [1, 2, 3]} for k in "ab"]
    driver = driven(nodes, wires, items)
    letters = driver.dead_letters()
    assert letters
    assert {(letter["node"], letter["code"]) for letter in letters} == {("both.gather", "too_many_gathered")}
    assert all(said in str(letter["message"]) for letter in letters)
    assert kept(driver) == []


def test_rows_come_in_the_order_of_their_lineage_whatever_kept_them() -> None:
    nodes = "parts: {type: split, field: parts}\n  some: {type: wait, for: 10 - long(n)}\n  list: {type: batch}"
    items = [{"k": "a", "wait": 0, "parts": [{"n": n} for n in range(5)]}]
    driver = driven(nodes, "start -> parts -> some -> list -> out, start -> late -> over", items)
    assert [row["n"] for row in driver.items("out")[0]["items"]] == [0, 1, 2, 3, 4]  # type: ignore[index]


def test_what_earlier_nodes_made_is_known_behind_it() -> None:
    nodes = "named: {type: set, fields: {name: k}, keep: none}\n  more: {type: wait, for: 10ms}\n"
    nodes += "  both: {type: merge, mode: choose}\n  told: {type: set, fields: {x: nodes.start.k}}"
    wires = "start -> named -> late2 -> both.left, named -> both.right, both -> told -> out"
    nodes = nodes.replace(", keep: none", "").replace("more:", "late2:")
    driver = driven(f"{nodes}", f"{wires}, start -> late -> over", [{"k": "a", "wait": 1}])
    assert [item["x"] for item in driver.items("out")] == ["a"]  # type: ignore[index]


def found(nodes: str, wires: str) -> list[tuple[str, str]]:
    document, findings = load_text(text(nodes, wires))
    assert document is not None, findings
    _, more = compile_document(document, registry())
    return [(f.code, f.message) for f in (*findings, *more) if f.severity == "error"]


def test_a_node_that_keeps_rows_otherwise_is_named() -> None:
    nodes = "still: {type: debounce, key: k, quiet: 1s}\n  both: {type: merge, mode: choose}"
    wires = "start -> still -> both.left, start -> both.right, both -> out, start -> late -> over"
    said = dict(found(nodes, wires))
    assert "'still' (debounce) keeps rows" in said["SF225"]


@pytest.mark.parametrize("mode", ["append", "first"])
def test_a_time_out_needs_something_that_waits(mode: str) -> None:
    wires = "start -> late -> both, both -> out" if mode == "append" else BRANCHES
    ((code, message),) = found(f"both: {{type: merge, mode: {mode}, timeout: 1s}}", wires)
    assert code == "SF250", message


def test_nothing_is_gathered_where_rows_are_together() -> None:
    nodes = "some: {type: filter, when: long(wait) > 1}\n  both: {type: merge, mode: combine_all}"
    topology = compiled(
        text(nodes, "start -> late -> [some -> both.left, both.right], both -> out").replace(
            "late -> [some -> both.left, both.right]", "late -> some -> both.left, late -> both.right"
        )
    )
    assert not any(stage.feeds for stage in topology.stages)


def test_the_plan_says_why_and_can_be_read_again() -> None:
    topology = compiled(text("both: {type: merge, mode: combine_all, timeout: 1s}", BRANCHES))
    why = topology.topic("w.both.rows.repartition").why
    assert why.startswith("Node 'both' needs all rows of an execution, but 'late' lets them go at different times")
    assert from_json(to_json(topology)) == topology


def test_branches_of_different_triggers_are_told_apart_as_before() -> None:
    nodes = "other: {type: event, topic: in2, format: json}\n  parts: {type: split, field: p}\n"
    nodes += "  both: {type: merge, mode: combine_all}"
    document, findings = load_text(text(nodes, "start -> parts -> late -> both.left, other -> both.right, both -> out"))
    assert document is not None, findings
    topology, more = compile_document(document, registry())
    assert topology is not None
    assert [(f.code, f.severity) for f in more] == [("SF226", "warning")]
