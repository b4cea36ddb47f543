"""Portions of a step are not observable, and what one node parsed the next one need not parse again."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from streamflow.nodes import registry
from streamflow.runtime import portions
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

# Rows that are filtered, that fail in each node in another way, that come together again, and that hold what an
# `any` result cannot say.
WORKFLOW = """\
workflow: w
nodes:
  src: {type: event, topic: in, format: json}
  some: {type: filter, when: 12 // long(n) != 4, on_error: error_port}
  ways: {type: if, when: n > 3}
  more: {type: set, fields: {m: n * 2, big: x * 1e308 * 10}}
  less: {type: set, keep: [n, x], fields: {y: x + 1}}
  both: {type: merge}
  seen: {type: set, fields: {null_now: is_null(big)}}
  out: {type: publish, topic: out, format: json}
  bad: {type: publish, topic: bad, format: json}
connections:
  - src -> some -> ways
  - ways.true -> more -> both
  - ways.false -> less -> both
  - both -> seen -> out
  - some.error -> bad
"""
ITEMS: list[Any] = [
    *({"n": n % 7, "x": n / 2, "name": "é\\"} for n in range(20)), {"n": 2, "x": "text"}, {"x": 1}, [1], None, 5,
    {"n": 9.0, "x": 0, "deep": {"a": [1]}}, {"n": None},
]  # fmt: skip


def ran(rows: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    monkeypatch.setattr(portions, "PORTION_ROWS", rows)
    driver = TopologyDriver(compiled(WORKFLOW), nodes=registry())
    driver.feed("src", ITEMS)
    dead = sorted(json.dumps(d, sort_keys=True, default=str) for d in driver.dead_letters())
    ports = {name: [item for b in batches for item in b.frame["@item"].to_list()] for name, batches in
             driver.outputs.items()}  # fmt: skip
    return ports, dead, driver.counts()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_portions_are_not_observable(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ports, dead, counts = ran(rows, monkeypatch)
    whole_ports, whole_dead, whole_counts = ran(1_000, monkeypatch)
    assert ports["seen", "out"]
    assert dead
    assert ports == whole_ports
    assert dead == whole_dead
    assert counts == whole_counts


def test_an_overflow_is_null_for_the_next_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """It left `more` as the JSON word null: what was computed must not be handed on instead of what was written."""
    ports, _, _ = ran(1_000, monkeypatch)
    infinite = [orjson.loads(i) for i in ports["seen", "out"] if b'"m"' in i]
    assert infinite
    assert any(i["big"] is None and i["null_now"] is True and i["x"] > 0 for i in infinite)


def test_filter_and_set_parse_an_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = compiled(
        "workflow: w\nnodes:\n  src: {type: event, topic: in, format: json}\n  f: {type: filter, when: n > 1}\n"
        "  s: {type: set, fields: {m: n * 2}}\n  out: {type: publish, topic: out, format: json}\n"
        "connections: [src -> f -> s -> out]\n"
    )
    driver = TopologyDriver(topology, nodes=registry())
    read: list[bytes] = []

    def counted(texts: list[bytes | None]) -> list[Any]:
        read.extend(t for t in texts if t is not None)
        return [None if t is None else orjson.loads(t) for t in texts]

    monkeypatch.setattr("streamflow.expressions.values._parse_all", counted)
    driver.feed("src", [{"n": n} for n in range(5)])
    assert driver.items("s") == [{"n": n, "m": n * 2} for n in range(2, 5)]
    assert sorted(read) == sorted(b'{"n":%d}' % n for n in range(5))


def test_what_is_nested_too_deeply_to_be_written_is_an_item_error() -> None:
    topology = compiled(
        "workflow: w\nnodes:\n  src: {type: event, topic: in, format: json}\n  s: {type: set, fields: {m: '[a]'}}\n"
        "  out: {type: publish, topic: out, format: json}\nconnections: [src -> s -> out]\n"
    )
    driver = TopologyDriver(topology, nodes=registry())
    deep: Any = 1
    for _ in range(253):
        deep = [deep]
    driver.feed("src", [{"a": deep}, {"a": 1}])  # in a list it can be written, in a list inside an item no more
    assert driver.items("s") == [{"a": 1, "m": [1]}]
    (dead,) = driver.dead_letters()
    assert (dead["code"], dead["message"]) == ("too_large", "fields (the new item): result exceeds the size limit")
