"""Loops against a plain interpreter of the same loops, on random items, cut into random steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

SCHEMA = """{"type": "record", "name": "I", "fields": [
  {"name": "a", "type": "long"}, {"name": "b", "type": ["null", "long"]},
  {"name": "xs", "type": ["null", {"type": "array", "items": "long"}]}]}"""
ITEMS = st.fixed_dictionaries(
    {
        "a": st.integers(-3, 9),
        "b": st.none() | st.integers(-2, 5),
        "xs": st.none() | st.lists(st.integers(-3, 9), max_size=5),
    }
)
TEXT = """
workflow: loops
nodes:
  start: {{type: event, topic: in, {of}}}
  asks:
    {{type: loop, mode: while, when: long(a) < 6, limit: 5, break_if: long(b) == loop.index, collect: 10 // long(a)}}
  grows: {{type: set, fields: {{a: long(a) + 1}}}}
  not_four: {{type: filter, when: long(a) != 4}}
  asked: {{type: no-op}}
  every: {{type: loop, mode: for-each, each: xs, collect: a}}
  counts: {{type: loop, mode: for, first: b, last: loop.item, step: "2", limit: 4}}
  sums: {{type: set, fields: {{a: long(a) + loop.value * (loop.outer.index + 1) + loop.index}}}}
  counted: {{type: no-op}}
{nodes}
connections:
  - start -> [asks, every]
  - asks.body -> grows {asks} -> not_four -> asks.back
  - asks.done -> asked
  - every.body {every} -> counts
  - counts.body {counts} -> sums -> counts.back
  - counts.done {counted} -> every.back
  - every.done -> counted
"""
# What stands in bodies, by place: a loop with a wait or a repartition in its body goes round across topics.
BETWEEN = {
    "wait": "{type: wait, for: 'coalesce(long(b), 0) % 3'}",
    "move": "{type: repartition, key: string(a)}",
}
BODIES: tuple[dict[str, str], ...] = (
    {},
    {"asks": "wait", "counted": "wait"},
    {"asks": "move", "every": "wait"},
    {"asks": "wait", "counts": "move"},
    {"every": "move", "counts": "wait", "counted": "move"},
)


def text(of: str, bodies: dict[str, str]) -> str:
    """The workflow with nodes between in some of its bodies."""
    nodes = "\n".join(f"  in_{place}: {BETWEEN[what]}" for place, what in bodies.items())
    places = {place: f"-> in_{place}" if place in bodies else "" for place in ("asks", "every", "counts", "counted")}
    return TEXT.format(of=of, nodes=nodes, **places)


class Failed(Exception):
    """An item ends in a dead letter of this code."""


def asks(item: dict[str, Any]) -> dict[str, Any] | None:
    a, index, results = item["a"], 0, []
    while a < 6:
        if index >= 5:
            raise Failed("loop_limit")
        a += 1
        if a == 4:
            return None
        if a == 0:
            raise Failed("division_by_zero")
        results.append(10 // a)
        if item["b"] == index:
            break
        index += 1
    return {**item, "a": a, "results": results}


def every(item: dict[str, Any]) -> dict[str, Any]:
    a, results = item["a"], []
    for outer, last in enumerate(item["xs"] or ()):
        values = [] if item["b"] is None else range(item["b"], last + 1, 2)
        for inner, value in enumerate(values):
            if inner >= 4:
                raise Failed("loop_limit")
            a += value * (outer + 1) + inner
        results.append(a)
    return {**item, "a": a, "results": results}


@pytest.fixture(scope="module", params=["schema: i.avsc", "format: json"])
def of(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=BODIES, ids=lambda bodies: "+".join(f"{p}={w}" for p, w in bodies.items()))
def topology(of: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Topology:
    folder = tmp_path_factory.mktemp("loops")
    (folder / "i.avsc").write_text(SCHEMA)
    made = compiled(text(of, request.param), folder)
    assert any(i.back for stage in made.stages for i in stage.inputs) is bool(request.param)
    return made


def expected(items: list[dict[str, Any]]) -> tuple[list[Any], list[Any], list[tuple[str, str]]]:
    made: dict[str, list[Any]] = {"asks": [], "every": []}
    failed = []
    for name, does in (("asks", asks), ("every", every)):
        for item in items:
            try:
                if (result := does(item)) is not None:
                    made[name].append(result)
            except Failed as error:
                failed.append((str(error), name))
    return made["asks"], made["every"], sorted(failed)


def dumped(item: object) -> str:
    return json.dumps(item, sort_keys=True)


def test_loops_do_what_loops_do(topology: Topology) -> None:
    within = not any(i.back for stage in topology.stages for i in stage.inputs)

    @settings(max_examples=max(settings.default.max_examples // 4, 8))  # type: ignore[union-attr]
    @given(st.lists(ITEMS, min_size=1, max_size=12), st.integers(1, 12))
    def test(items: list[dict[str, Any]], step_rows: int) -> None:
        driver = TopologyDriver(topology, nodes=registry(), step_rows=step_rows)
        driver.feed("start", items)
        driver.pass_time()
        asked, counted, failed = expected(items)
        for node, wanted in (("asked", asked), ("counted", counted)):
            found = driver.items(node)
            # Across topics items come out as they finish.
            assert found == wanted if within else sorted(map(dumped, found)) == sorted(map(dumped, wanted))
        of = {"asks": "asks", "counts": "every"}
        assert sorted((str(d["code"]), of[str(d["node"])]) for d in driver.dead_letters()) == failed

    test()


def test_items_of_an_execution_go_round_in_batches(tmp_path: Path) -> None:
    text = """
workflow: batches
nodes:
  start: {type: manual, items: []}
  twos: {type: loop, mode: for-each, batch_size: 2}
  part: {type: set, fields: {part: loop.index}}
  end: {type: no-op}
connections:
  - start -> twos
  - twos.body -> part -> twos.back
  - twos.done -> end
"""
    driver = TopologyDriver(compiled(text, tmp_path), nodes=registry(), step_rows=3)
    driver.feed("start", [{"n": n} for n in range(4)], end=False)
    driver.feed("start", [{"n": n} for n in range(4, 7)])
    driver.feed("start", [{"n": 7}])
    assert [item["part"] for item in driver.items("end")] == [0, 0, 1, 1, 2, 2, 3, 0]  # type: ignore[index]
