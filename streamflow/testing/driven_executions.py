"""What the test driver tells nodes of executions: as records of them would, without a log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamflow.runtime.execution_counts import Counter, Counts, Ints
from streamflow.runtime.executions import Watch
from streamflow.runtime.graph import Graph
from streamflow.topology.plan import StagePlan, Topology


class Teller:
    """Watches the stages of a topology where one of them hears of executions; `told` has what it is to hear next."""

    def __init__(self, topology: Topology) -> None:
        self.heard = [(s, i) for s in topology.stages for i in s.inputs if i.aside]
        self.told: list[dict[str, object]] = []
        self._topology = topology

    def watch(self, stage: StagePlan, graph: Graph) -> None:
        """Before the first step of a stage."""
        if self.heard:
            kinds = {t.name: t.kind for t in self._topology.topics}
            begins = (i.node for i in stage.inputs if kinds.get(i.topic) != "repartition" and not i.aside)
            graph.watch = Watch(stage, {n.id: graph.operator(n.id) for n in stage.nodes}, frozenset(begins))
            graph.watch.own = False  # rows have their executions with them

    def stepped(self, stage: StagePlan, graph: Graph) -> None:
        """Behind each step of a stage, before its rows go on."""
        counts = None if graph.watch is None else graph.watch.take(None)
        if counts is None or graph.watch is None:
            return
        waits = graph.watch.waits
        sums = {name: _sum(counts, [name]) for name in ("received", "sent")}
        sums["waiting"] = _sum(counts, ["absorbed"], waits) - _sum(counts, ["emitted"], waits)
        sums["failed"] = _sum(counts, ["dead_lettered"])
        for i, execution in enumerate(counts.executions.to_list()):
            record = {"execution": execution, "stage": stage.id, **{name: int(n[i]) for name, n in sums.items()}}
            self.told.append(record)

    def take(self) -> list[dict[str, object]]:
        """What was not heard yet."""
        told, self.told = self.told, []
        return told


def _sum(counts: Counts, counters: Sequence[Counter], of: frozenset[str] | None = None) -> Ints:
    total = np.zeros(len(counts), np.int64)
    for (place, counter), rows in counts.rows.items():
        if counter in counters and (of is None or place in of):
            total += rows
    return total
