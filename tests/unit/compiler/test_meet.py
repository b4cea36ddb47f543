"""Branches that meet behind a repartition of one of them get topics of their own."""

from __future__ import annotations

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled

TEXT = """
workflow: w
nodes:
  in: {type: event, topic: in, format: json}
  big: {type: if, when: n > 5}
  keyed: {type: repartition, key: string(n % 3)}
  again: {type: repartition, key: string(n % 2)}
  all: {type: merge, mode: append}
  out: {type: publish, topic: out, format: json}
connections:
  - in -> big
"""


@pytest.mark.parametrize(
    ("wires", "topics"),
    [
        ("  - big.true -> keyed -> all -> out\n  - big.false -> all\n", ["all.big.false", "keyed"]),
        ("  - big.true -> keyed -> again -> all -> out\n  - big.false -> all\n", ["again", "all.big.false", "keyed"]),
        (
            "  - big.true -> keyed -> again -> all -> out\n  - keyed -> all\n  - big.false -> all\n",
            ["again", "all.big.false", "all.keyed.out", "keyed"],
        ),
        ("  - big.true -> keyed -> all -> out\n  - big.false -> again -> all\n", ["again", "keyed"]),
    ],
)
def test_where_rows_from_before_and_from_behind_a_repartition_meet(wires: str, topics: list[str]) -> None:
    unused = "" if "again" in wires else "  again: {type: repartition, key: string(n % 2)}\n"
    topology = compiled(TEXT.replace(unused, "") + wires if unused else TEXT + wires)
    found = [t.name.removeprefix("w.").removesuffix(".repartition") for t in topology.topics if t.kind == "repartition"]
    assert sorted(found) == topics
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("in", [{"n": n} for n in range(12)])
    times = 2 if "keyed -> all\n" in wires else 1
    assert sorted(row["n"] for row in driver.items("out")) == sorted([*range(6), *list(range(6, 12)) * times])  # type: ignore[index]


def test_an_approval_in_one_of_two_branches() -> None:
    topology = compiled(
        """
workflow: w
nodes:
  in: {type: event, topic: in, format: json, key: string(n)}
  big: {type: if, when: n > 5}
  approved: {type: wait, signal: go, key: string(n)}
  out: {type: publish, topic: out, format: json}
connections:
  - in -> big
  - big.true -> approved -> out
  - big.false -> out
"""
    )
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("in", [{"n": 3}, {"n": 7}, {"n": 8}])
    assert [row["n"] for row in driver.items("out")] == [3]  # type: ignore[index]
    driver.signal("approved", [{"key": "8"}])
    assert [row["n"] for row in driver.items("out")] == [3, 8]  # type: ignore[index]


def test_rows_of_an_execution_that_have_to_be_together_are_still_refused() -> None:
    text = TEXT.replace("mode: append", "mode: combine_by_position").replace(
        "type: event, topic: in, format: json", "type: manual, items: [{n: 1}, {n: 7}]"
    )
    text = text.replace("  again: {type: repartition, key: string(n % 2)}\n", "")
    document, findings = load_text(
        text + "  - big.true -> keyed -> all.left\n  - big.false -> all.right\n  - all -> out\n"
    )
    assert document is not None, findings
    codes = {f.code for f in compile_document(document, registry())[1]}
    assert codes == {"SF225", "SF227"}
