"""What a graph needs to run loops: which nodes are in which body, and rows of several rounds put in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from streamflow.model.batch import PATH, ROW, Batch, loop_column
from streamflow.topology.plan import NodePlan, StagePlan

BACK_PORT = "back"  # of a loop


def within_loops(stage: StagePlan) -> Mapping[str, tuple[NodePlan, ...]]:
    """Nodes by the loop in whose body they are, not counting those of loops inside; "": those that are in none.

    Of loops that go round within a step: where rows come back by a topic, a round ends with the step.
    """
    entered = {i.node for i in stage.inputs}
    steps = {n.id for n in stage.nodes if any(w.node not in entered for w in n.wires.get(BACK_PORT, ()))}
    found: dict[str, list[NodePlan]] = {"": []}
    for plan in stage.nodes:
        around = [loop for loop in plan.loops if loop in steps]
        for loop in around:
            found.setdefault(loop, [])
        found[next(iter(around), "")].append(plan)
    return {loop: tuple(plans) for loop, plans in found.items()}


def leaving(loop: str, nodes: Sequence[NodePlan]) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Nodes of a loop, itself included; and the ports of these by which rows leave it."""
    inside = frozenset({loop, *(n.id for n in nodes if loop in n.loops)})
    wires = (w for n in nodes if n.id not in inside for ws in n.wires.values() for w in ws)
    return inside, frozenset((w.node, w.port) for w in wires if w.node in inside)


def in_order(rounds: Sequence[Batch]) -> Batch:
    """Rows that left by one port in several rounds, in the order of arrival; what has one place, round after round."""
    if len(rounds) == 1:
        return rounds[0]
    frame = pl.concat([rows.frame for rows in rounds], how="diagonal")
    by = [c for c in (ROW, PATH) if c in frame.columns]
    return Batch(frame.sort(by, maintain_order=True, nulls_last=False), rounds[0].schema)


def outside(loop: str, rows: Batch) -> Batch:
    """Rows that have left a loop, by whatever port: without what it remembers of them."""
    gone = [c for c in rows.frame.columns if c.startswith(loop_column(loop, ""))]
    return replace(rows, frame=rows.frame.drop(gone)) if gone else rows


@dataclass(slots=True)
class Seen:
    """What nodes of a loop gave, round after round, for whoever looks on."""

    _rounds: dict[tuple[str, str], list[Batch]] = field(default_factory=dict)

    def see(self, node: str, port: str, rows: Batch) -> None:
        self._rounds.setdefault((node, port), []).append(rows)

    def in_order(self) -> Iterator[tuple[str, str, Batch]]:
        for (node, port), rounds in self._rounds.items():
            yield node, port, in_order(rounds)
