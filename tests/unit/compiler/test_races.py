"""Which nodes stop on a branch that has lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.running import compiled

TEXT = """
workflow: race
nodes:
  start: {{type: event, topic: in, format: json, key: string(n)}}
  soon: {{type: wait, for: 1s}}
  one: {{type: wait, for: 7d}}
  two: {{type: set, fields: {{n: long(n)}}}}
  first: {{type: merge, mode: first{more}}}
  out: {{type: publish, topic: out, format: json}}
  {nodes}
connections:
  - start -> one -> two -> first.left
  - start -> soon -> first.right
  - first -> out
  {wires}
"""


def losers(tmp_path: Path, *, nodes: str = "", wires: str = "", more: str = "") -> dict[str, set[str]]:
    topology = compiled(TEXT.format(nodes=nodes, wires=wires, more=more), tmp_path)
    races = [race for stage in topology.stages for race in stage.races]
    assert bool(races) == any(t.kind == "control" for t in topology.topics)
    assert all(bool(stage.control) == bool(races) for stage in topology.stages)
    return {port: set(found) for race in races for port, found in race.branches.items()}


def test_each_port_has_the_nodes_that_lead_to_it_only(tmp_path: Path) -> None:
    assert losers(tmp_path) == {"left": {"one", "two"}, "right": {"soon"}}


def test_a_copy_to_elsewhere_keeps_what_is_before_it(tmp_path: Path) -> None:
    found = losers(tmp_path, nodes="copy: {type: publish, topic: copies, format: json}", wires="- one -> copy")
    assert found == {"left": {"two"}, "right": {"soon"}}


def test_a_way_to_the_other_port_as_well(tmp_path: Path) -> None:
    found = losers(tmp_path, wires="- one -> first.right")
    assert "one" not in found["left"] | found["right"]


def test_nodes_for_items_that_fail_are_no_way_out(tmp_path: Path) -> None:
    nodes = "odd: {type: publish, topic: odd, format: json}"
    assert losers(tmp_path, nodes=nodes, wires="- two.error -> odd")["left"] == {"one", "two"}


def test_nobody_is_told_where_the_others_finish(tmp_path: Path) -> None:
    assert losers(tmp_path, more=", others: finish") == {}


def test_others_means_nothing_in_another_mode(tmp_path: Path) -> None:
    text = TEXT.format(nodes="", wires="", more=", others: finish").replace("mode: first", "mode: choose")
    with pytest.raises(AssertionError, match="no branch is first"):
        compiled(text, tmp_path)


def test_a_loop_across_topics_with_its_body_and_what_is_before_it(tmp_path: Path) -> None:
    """The body leads to the merge by the way back only, which no edge of the graph shows."""
    text = """
workflow: race
nodes:
  start: {type: event, topic: in, format: json, key: string(n)}
  before: {type: set, fields: {n: long(n)}}
  poll: {type: loop, mode: for, times: 3}
  slow: {type: wait, for: 7d}
  ask: {type: set, fields: {n: n + 1}}
  soon: {type: wait, for: 1s}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
connections:
  - start -> before -> poll
  - poll.body -> slow -> ask -> poll.back
  - poll.done -> first.left
  - start -> soon -> first.right
  - first -> out
"""
    races = [race for stage in compiled(text, tmp_path).stages for race in stage.races]
    branches = {port: set(found) for race in races for port, found in race.branches.items()}
    assert branches == {"left": {"before", "poll", "slow", "ask", "poll.back"}, "right": {"soon"}}


def test_a_loop_whose_body_leads_elsewhere_goes_on(tmp_path: Path) -> None:
    text = """
workflow: race
nodes:
  start: {type: event, topic: in, format: json, key: string(n)}
  poll: {type: loop, mode: for, times: 3}
  slow: {type: wait, for: 7d}
  copy: {type: publish, topic: copies, format: json}
  one: {type: wait, for: 7d}
  soon: {type: wait, for: 1s}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
connections:
  - start -> poll
  - poll.body -> slow -> poll.back
  - slow -> copy
  - poll.done -> one -> first.left
  - start -> soon -> first.right
  - first -> out
"""
    races = [race for stage in compiled(text, tmp_path).stages for race in stage.races]
    branches = {port: set(found) for race in races for port, found in race.branches.items()}
    assert branches == {"left": {"one"}, "right": {"soon"}}
