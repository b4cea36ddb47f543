"""Loops across topics in a running graph: what travels with a row, policies of nodes in a body, ways out, counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

LINE = {"type": "record", "name": "Line", "fields": [{"name": "q", "type": "long"}]}
FIELDS = [
    {"name": "a", "type": "long"},
    {"name": "k", "type": "string"},
    {"name": "lines", "type": {"type": "array", "items": LINE}},
]
X: dict[str, Any] = {"a": 1, "k": "x", "lines": [{"q": 1}, {"q": 2}]}
Y: dict[str, Any] = {"a": 2, "k": "y", "lines": []}


@pytest.fixture(params=["schema: i.avsc", "format: json"])
def go(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., TopologyDriver]:
    """Run a loop `l` with a body of these nodes over two items."""
    (tmp_path / "i.avsc").write_text(json.dumps({"type": "record", "name": "I", "fields": FIELDS}))

    def run(
        loop: str, nodes: dict[str, str], body: str, *more: str, into: str = "l", signals: tuple[Any, ...] = ()
    ) -> TopologyDriver:
        leads_back = "" if any("l.back" in wire for wire in more) and body[-1] == "i" else " -> l.back"
        lines = "\n".join(f"  {name}: {{{params}}}" for name, params in nodes.items())
        wires = "\n".join(f"  - {wire}" for wire in (f"start -> {into}", f"l.body -> {body}{leads_back}", *more))
        text = f"""
workflow: w
nodes:
  start: {{type: event, topic: in, {request.param}, key: string(k)}}
  l: {{type: loop, {loop}}}
{lines}
  out: {{type: no-op}}
connections:
{wires}
"""
        topology = compiled(text, tmp_path)
        assert any(i.back for stage in topology.stages for i in stage.inputs)
        driver = TopologyDriver(topology, nodes=registry(), step_rows=1)
        driver.feed("start", [X, Y])
        for signal in signals:
            driver.signal("w", [signal])
        if not signals:
            driver.pass_time()
        return driver

    return run


def out(driver: TopologyDriver, *fields: str) -> list[Any]:
    """Fields of the items that came out, by key."""
    found = sorted(driver.items("out"), key=lambda item: item["k"])  # type: ignore[index]
    return [tuple(item.get(name) for name in fields) for item in found]  # type: ignore[attr-defined]


Go = Callable[..., TopologyDriver]


@pytest.mark.parametrize(
    ("collect", "made"),
    [
        ("'[long(a), loop.index]'", [[2, 0], [4, 1]]),
        ("'null'", [None, None]),
        ("long(loop.item.q)", [1, 2]),
        ("loop.item", [{"q": 1}, {"q": 2}]),
    ],
)
def test_all_that_is_collected_travels(collect: str, made: list[Any], go: Go) -> None:
    nodes = {"p": "type: wait, for: 1ms", "s": "type: set, fields: {a: long(a) + long(loop.item.q)}"}
    driver = go(f"mode: for-each, each: lines, collect: {collect}", nodes, "p -> s", "l.done -> out")
    assert out(driver, "a", "results") == [(4, made), (2, [])]


def test_a_body_without_what_waits_commits_its_rounds_where_that_is_said(go: Go) -> None:
    nodes = {"s": "type: set, fields: {a: long(a) + loop.index}"}
    assert out(go("mode: for, times: '4', commit_rounds: true", nodes, "s", "l.done -> out"), "a") == [(7,), (8,)]


def test_elements_in_batches_behind_a_wait_and_a_topic(go: Go) -> None:
    nodes = {
        "p": "type: wait, for: 5ms",
        "r": "type: repartition, key: string(a)",
        "s": "type: set, fields: {a: long(a) + len(loop.items) * 10 + loop.count}",
    }
    loop = "mode: for-each, each: '[1, 2, 3, 4, 5]', batch_size: 2, collect: loop.items"
    driver = go(loop, nodes, "p -> r -> s", "l.done -> out")
    assert out(driver, "a", "results") == [(60, [[1, 2], [3, 4], [5]]), (61, [[1, 2], [3, 4], [5]])]


def test_items_of_an_execution_go_round_in_batches(go: Go) -> None:
    nodes = {
        "sp": "type: split, field: lines, keep: true",
        "p": "type: wait, for: 1ms",
        "s": "type: set, fields: {part: loop.index}",
    }
    assert out(go("mode: for-each", nodes, "p -> s", "l.done -> out", into="sp -> l"), "part") == [(0,), (1,)]


def test_what_earlier_nodes_made_is_there_in_every_round(go: Go) -> None:
    nodes = {
        "b": "type: set, fields: {z: long(a) * 100}",
        "p": "type: wait, for: 5ms",
        "r": "type: repartition, key: string(k)",
        "s": "type: set, fields: {a: nodes.b.z + nodes.l.a + loop.index + loop.count}",
        "e": "type: set, fields: {y: nodes.b.z}",
    }
    driver = go("mode: for, times: '2'", nodes, "p -> r -> s", "l.done -> e -> out", into="b -> l")
    assert out(driver, "a", "y") == [(206, 100), (407, 200)]


def test_policies_of_nodes_in_a_body(go: Go) -> None:
    """a: 1 fails nowhere, and ends as -10; a: 2 fails in its third round."""
    loop, wires = "mode: for, times: '3'", ("p -> s", "l.done -> out")
    fails = "type: set, fields: {a: 10 // (long(a) - loop.index)}"
    pause = {"p": "type: wait, for: 1ms"}
    driver = go(loop, pause | {"s": fails}, *wires)
    assert out(driver, "a") == [(-10,)]
    assert [(d["node"], d["code"]) for d in driver.dead_letters()] == [("s", "division_by_zero")]
    assert out(go(loop, pause | {"s": f"{fails}, on_error: continue"}, *wires), "a") == [(-10,)]
    assert out(go(loop, pause | {"s": f"{fails}, on_error: pass"}, *wires), "a") == [(-10,), (2,)]
    mended = pause | {"s": f"{fails}, on_error: {{fallback: m}}", "m": "type: set, keep: [k, lines], fields: {a: '7'}"}
    assert out(go(loop, mended, *wires, "m -> l.back"), "a") == [(-10,), (7,)]
    parked = pause | {"s": f"{fails}, retry: {{attempts: 3, delay: 1s, mode: park}}"}
    driver = go(loop, parked, *wires)
    assert out(driver, "a") == [(-10,)]
    assert len(driver.dead_letters()) == 1


def test_failed_items_lead_back(go: Go) -> None:
    nodes = {"p": "type: wait, for: 1ms", "s": "type: set, fields: {a: 10 // (long(a) - 2)}"}
    driver = go("mode: for, times: '2'", nodes, "p -> s", "s.error -> l.back", "l.done -> out")
    assert driver.dead_letters() == []
    assert [(a, error["code"] if error else None) for a, error in out(driver, "a", "error")] == [
        (-1, None), (2, "division_by_zero"),
    ]  # fmt: skip


def test_who_takes_another_branch_leaves_at_once(go: Go) -> None:
    """Rows from behind a topic meet those of the loop's end by another."""
    nodes = {
        "r": "type: repartition, key: string(k)",
        "s": "type: set, fields: {a: long(a) + 1}",
        "i": "type: if, when: long(a) % 2 == 0",
    }
    driver = go("mode: for, times: '3'", nodes, "r -> s -> i", "i.true -> l.back", "i.false -> out", "l.done -> out")
    assert out(driver, "a") == [(3,), (3,)]


def test_signals_are_heard_in_every_round(go: Go) -> None:
    nodes = {
        "w": "type: wait, signal: go, key: k, timeout: 1h",
        "s": "type: set, keep: [k, lines], fields: {a: long(a) + long(signal)}",
    }
    signals = tuple({"key": "x", "payload": payload} for payload in (10, 20))
    driver = go("mode: for, times: '2'", nodes, "w -> s", "l.done -> out", signals=signals)
    assert out(driver, "a") == [(31,)]


def test_branches_of_a_body_come_back_by_topics_of_their_own(go: Go) -> None:
    nodes = {
        "i": "type: if, when: long(a) % 2 == 0",
        "r": "type: repartition, key: string(k)",
        "s": "type: set, fields: {a: long(a) + 1}",
        "p": "type: wait, for: 1ms",
        "t": "type: set, fields: {a: long(a) + 3}",
    }
    driver = go(
        "mode: for, times: '3'",
        nodes,
        "i",
        "i.true -> r -> s -> l.back",
        "i.false -> p -> t -> l.back",
        "l.done -> out",
    )
    assert out(driver, "a") == [(8,), (7,)]
