"""How loops go round is found by what their bodies hold; what cannot be in a body is refused by a finding."""

from __future__ import annotations

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.runtime.topics import resolve_partitions
from streamflow.topology.plan import Topology
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled

HEAD = """
workflow: w
nodes:
  start: {type: event, topic: in, format: json}
  outer: {type: loop, mode: for, times: "2"}
  inner: {type: loop, mode: for, times: "3"}
  adds: {type: set, fields: {n: long(n) + loop.index}}
  end: {type: publish, topic: out, format: json}
"""
NESTED = """connections:
  - start -> outer
  - outer.body -> {a} inner
  - inner.body -> {b} adds -> inner.back
  - inner.done -> outer.back
  - outer.done -> end
"""
MOVED = "  moved: {type: repartition, key: string(n), partition_count: 8}\n"


def back(topology: Topology) -> dict[str, str]:
    """By input that comes back: its stage."""
    return {i.node: stage.id for stage in topology.stages for i in stage.inputs if i.back}


def findings(text: str) -> list[str]:
    document, found = load_text(text)
    assert document is not None, found
    topology, more = compile_document(document, registry())
    assert topology is None
    return [f"{f.code}: {f.message}" for f in more]


@pytest.mark.parametrize(
    ("node", "a", "b", "wanted"),
    [
        ("", "", "", {}),
        ("  x: {type: wait, for: 1s}\n", "x ->", "", {"outer.back": "start"}),
        ("  x: {type: wait, for: 1s}\n", "", "x ->", {"outer.back": "start", "inner.back": "start"}),
        ("  x: {type: wait, signal: go}\n", "x ->", "", {"outer.back": "start"}),
        (
            "  x: {type: dedupe, key: string(n), within: 1h}\n",
            "", "x ->", {"outer.back": "start", "inner.back": "start"},
        ),
        ("  x: {type: repartition, key: string(n)}\n", "x ->", "", {"outer.back": "start"}),
        ("  x: {type: limit, count: 3, scope: stream}\n", "x ->", "", {"outer.back": "start"}),
        (
            "  x: {type: set, fields: {m: 1 // long(n)}, retry: {attempts: 2, delay: 1s, mode: park}}\n",
            "x ->", "", {"outer.back": "start"},
        ),
    ],
)  # fmt: skip
def test_a_body_that_waits_or_takes_by_key_goes_round_by_a_topic(
    node: str, a: str, b: str, wanted: dict[str, str]
) -> None:
    """What is around such a loop does so, too; a loop inside need not."""
    topology = compiled(HEAD + node + NESTED.format(a=a, b=b))
    assert back(topology) == wanted


def test_rounds_are_committed_one_by_one_where_that_is_said() -> None:
    text = HEAD.replace(
        'inner: {type: loop, mode: for, times: "3"', 'inner: {type: loop, mode: for, times: "3", commit_rounds: true'
    )
    assert set(back(compiled(text + NESTED.format(a="", b="")))) == {"outer.back", "inner.back"}
    text = HEAD.replace('times: "2"', 'times: "2", commit_rounds: true')
    assert set(back(compiled(text + NESTED.format(a="", b="")))) == {"outer.back"}


def test_what_a_loop_knows_of_a_row_travels_on_the_topics_of_its_body_only() -> None:
    """What a round is about is carried where an expression behind the topic names it, and found anew at the loop."""
    wires = NESTED.format(a="", b="moved ->").replace("outer.done -> end", "outer.done -> aside -> end")
    text = HEAD.replace('times: "3"', "last: '3'") + MOVED + "  aside: {type: repartition, key: string(n)}\n" + wires
    carried = {t.name: {e.column for e in t.envelope} for t in compiled(text).topics if t.kind == "repartition"}
    inner, outer = carried["w.inner.back.repartition"], carried["w.outer.back.repartition"]
    assert "@loop.inner.value" in carried["w.moved.repartition"]
    assert {"@loop.inner.start", "@loop.inner.index", "@loop.inner.home", "@loop.outer.index"} <= inner
    assert "@loop.inner.value" not in inner
    assert {c for c in outer if c.startswith("@loop.")} == {
        f"@loop.outer.{name}" for name in ("index", "count", "depth", "home", "home_key")
    }
    assert not [c for c in carried["w.aside.repartition"] if c.startswith("@loop.")]


def test_rows_come_back_to_the_tasks_that_they_entered_in() -> None:
    """So the topic has as many partitions as the loop has tasks, whatever the body spreads them over."""
    topology = compiled(HEAD + MOVED + NESTED.format(a="moved ->", b=""))
    counts = resolve_partitions(topology, {"in": 3})
    assert counts["w.moved.repartition"] == 8
    assert counts["w.outer.back.repartition"] == 3
    assert counts["out"] == 3


def test_each_way_that_leads_back_has_a_topic() -> None:
    wires = """connections:
  - start -> outer
  - outer.body -> odd
  - odd.true -> adds -> outer.back
  - odd.false -> outer.back
  - outer.done -> end
"""
    node = "  odd: {type: if, when: long(n) % 2 == 1}\n"
    text = HEAD.replace('times: "2"', 'times: "2", commit_rounds: true').replace(
        '  inner: {type: loop, mode: for, times: "3"}\n', ""
    )
    assert set(back(compiled(text + node + wires))) == {"outer.back.adds.out", "outer.back.odd.false"}
    text = text.replace("loop.index}}", "loop.index}, on_error: pass}")
    assert set(back(compiled(text + node + wires))) == {"outer.back.adds.out", "outer.back.odd.false"}


def test_failed_items_may_lead_back() -> None:
    """Once a KeyError: the port was typed only where a wire leads on."""
    wires = """connections:
  - start -> outer
  - outer.body -> adds
  - {from: adds.error, index: 1, to: outer, input: back, type: loop}
  - adds -> end
"""
    text = HEAD.replace('  inner: {type: loop, mode: for, times: "3"}\n', "").replace("loop.index}}", "loop.index}}")
    topology = compiled(text + wires)
    assert "error" in next(n for n in topology.stages[0].nodes if n.id == "adds").outputs


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("x: {type: sort, by: long(n)}", "node 'x' (sort) acts on whole executions: not within a loop"),
        ("x: {type: batch, size: 2, scope: stream}", "node 'x' (batch) makes new items of those that it takes"),
        (
            "x: {type: reduce, key: string(n), initial: 0, expression: accumulator + 1}",
            "node 'x' (reduce) makes new items of those that it takes",
        ),
        ("x: {type: loop, mode: for-each, batch_size: 2}", "goes through the items of a whole execution"),
    ],
)
def test_what_cannot_be_in_a_body(node: str, why: str) -> None:
    wires = NESTED.format(a="x ->", b="")
    if "loop" in node:
        wires = wires.replace("x -> inner", "x").replace(
            "  - inner.body", "  - x.body -> x.back\n  - x.done -> inner\n  - inner.body"
        )
    found = findings(HEAD + f"  {node}\n" + wires)
    assert any(f.startswith("SF242") and why in f for f in found), found


def test_executions_that_end_are_refused_where_rows_still_go_round() -> None:
    text = HEAD.replace("{type: event, topic: in, format: json}", "{type: manual, items: [{n: 1}]}")
    node = "  x: {type: wait, for: 1s}\n"
    (found,) = findings(text + node + NESTED.format(a="x ->", b=""))
    ends = "executions (extent run) of 'start' would end before rows that still go round."
    assert found == f"SF242: node 'x' (wait) lets loop 'outer' go round across topics, and {ends}"
    said = text.replace('times: "2"', 'times: "2", commit_rounds: true')
    assert findings(said + NESTED.format(a="", b="")) == [f"SF242: loop 'outer' goes round across topics, and {ends}"]
    compiled(text + NESTED.format(a="", b=""))


def test_what_acts_on_whole_executions_behind_is_given_all_of_them() -> None:
    """Rows leave a loop at different times: they are gathered until none goes round any more."""
    text = HEAD + "  x: {type: wait, for: 1s}\n  all: {type: sort, by: long(n)}\n"
    wires = NESTED.format(a="x ->", b="").replace("outer.done -> end", "outer.done -> all -> end")
    topology = compiled(text + wires)
    told = {stage.id: [(feed.received, feed.sent) for feed in stage.feeds] for stage in topology.stages}
    assert "all.gather" in {n.id for stage in topology.stages for n in stage.nodes}
    assert any("outer.back" in sent for feeds in told.values() for _, sent in feeds)
    assert any("outer.back" in received for received, _ in told["start"])


def test_other_stages_may_not_read_what_they_write() -> None:
    """A loop's topic is the only one by which rows come back to their stage; the cycle is none of the graph's."""
    topology = compiled(HEAD + MOVED + NESTED.format(a="moved ->", b=""))
    assert [s.id for s in topology.stages] == ["start", "moved"]
    written = {s.topic for s in topology.stages[1].sinks}
    assert written & {i.topic for i in topology.stages[0].inputs if i.back}
