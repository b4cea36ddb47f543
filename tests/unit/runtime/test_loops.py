"""Loops in a running graph: policies of nodes in a body, what leaves it on the way, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamflow.nodes import registry
from streamflow.sdk.errors import Stopped
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

HEAD = """
workflow: loops
nodes:
  start: {type: event, topic: in, format: json}
  again: {type: loop, mode: while, when: long(n) < 3, limit: 5%s}
  adds: {type: set, fields: {n: long(n) + 1, tenth: 10 // (2 - long(n))}%s}
  end: {type: no-op}
"""
WIRES = "connections: [start -> again, again.body -> adds -> again.back, again.done -> end]\n"


def run(text: str, *items: object) -> TopologyDriver:
    driver = TopologyDriver(compiled(text, Path()), nodes=registry())
    driver.feed("start", items)
    return driver


def test_a_node_that_fails_in_a_round_follows_its_policy() -> None:
    driver = run(HEAD % ("", ", on_error: continue") + WIRES, {"n": 1}, {"n": 3})
    assert driver.items("end") == [{"n": 3}]
    assert driver.counts()["adds"].continued == 1
    with pytest.raises(Stopped, match="node 'adds': division_by_zero"):
        run(HEAD % ("", ", on_error: stop") + WIRES, {"n": 1})


def test_a_fallback_in_the_body_leads_back() -> None:
    text = HEAD % ("", ", on_error: {fallback: mended}") + "  mended: {type: set, keep: [], fields: {n: '7'}}\n"
    driver = run(text + WIRES.replace("again.done", "mended -> again.back, again.done"), {"n": 0}, {"n": 5})
    assert driver.items("end") == [{"n": 7}, {"n": 5}]


def test_what_leaves_a_body_on_the_way_goes_on_when_the_loop_is_through_in_the_order_of_arrival() -> None:
    text = (HEAD % ("", "")).replace("10 // (2 - long(n))", "1")
    text += "  seen: {type: set, keep: [], fields: {at: n, round: 'loop_round'}}\n  mark: {type: set, "
    text += "fields: {loop_round: loop.index}}\n  big: {type: filter, when: long(n) != 2}\n"
    wires = """
connections:
  - start -> again
  - "again.body -> mark -> [big, seen]"
  - big -> adds -> again.back
  - again.done -> end
"""
    driver = run(text + wires, {"n": 0}, {"n": 1})
    assert driver.items("seen") == [
        {"at": 0, "round": 0}, {"at": 1, "round": 1}, {"at": 2, "round": 2},
        {"at": 1, "round": 0}, {"at": 2, "round": 1},
    ]  # fmt: skip
    assert driver.items("end") == []


def test_every_pass_is_counted() -> None:
    text = (HEAD % (", collect: n", "")).replace("10 // (2 - long(n))", "1") + WIRES
    counts = run(text, {"n": 0}, {"n": 9}).counts()
    assert (counts["again"].rows_in, counts["again"].ports) == (5, {"body": 3, "done": 2})
    assert (counts["adds"].rows_in, counts["adds"].forwarded) == (3, 3)


def test_a_condition_on_the_way_back_drops_items() -> None:
    wires = """connections:
  - start -> again
  - again.body -> adds
  - {from: adds, to: again, type: loop, condition: long(n) != 1}
  - again.done -> end
"""
    text = (HEAD % ("", "")).replace("10 // (2 - long(n))", "1")
    assert run(text + wires, {"n": 0}, {"n": 1}).items("end") == [{"n": 3, "tenth": 1}]


def test_a_disabled_loop_hands_its_items_on() -> None:
    text = (HEAD % (", disabled: true", ", disabled: true")) + WIRES.replace("again.body -> adds", "again.done -> adds")
    assert run(text, {"n": 0}).items("end") == [{"n": 0}]


def test_items_that_multiply_without_end_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.operators.looping.ROWS_MAX", 20)
    text = """
workflow: loops
nodes:
  start: {type: event, topic: in, format: json}
  again: {type: loop, mode: while, when: 'true', limit: 50}
  pair: {type: set, fields: {xs: '[1, 2]'}}
  both: {type: split, field: xs, keep: true}
  end: {type: no-op}
connections: [start -> again, again.body -> pair -> both -> again.back, again.done -> end]
"""
    failed = run(text, {"n": 0}, {"n": 1}).dead_letters()
    assert {(f["node"], f["code"]) for f in failed} == {("again", "loop_limit")}
    assert len(failed) == 64


@pytest.mark.parametrize(
    ("rounds", "collect"), [(70, "n"), (32, "n"), (70, "[n, loop.index]"), (33, "null"), (3, "{'a': n}")]
)
def test_all_rounds_are_collected(rounds: int, collect: str, tmp_path: Path) -> None:
    text = f"""
workflow: loops
nodes:
  start: {{type: event, topic: in, schema: i.avsc}}
  again: {{type: loop, mode: for, times: t, collect: "{collect}"}}
  adds: {{type: set, fields: {{n: n + 1}}}}
  end: {{type: no-op}}
connections: [start -> again, again.body -> adds -> again.back, again.done -> end]
"""
    longs = [{"name": name, "type": "long"} for name in ("n", "t")]
    (tmp_path / "i.avsc").write_text(json.dumps({"type": "record", "name": "I", "fields": longs}))
    driver = TopologyDriver(compiled(text, tmp_path), nodes=registry())
    driver.feed("start", [{"n": 0, "t": rounds}, {"n": 5, "t": 1}])
    wanted = {"n": lambda r: r + 1, "[n, loop.index]": lambda r: [r + 1, r], "null": lambda r: None}
    made = wanted.get(collect, lambda r: {"a": r + 1})
    first, second = driver.items("end")
    assert first["results"] == [made(r) for r in range(rounds)]  # type: ignore[index]
    assert len(second["results"]) == 1  # type: ignore[index]
