"""Compensation spelt out: where an item fails for good, the steps that it has passed are undone, the last one first.

A step is a node that names its compensation. Items that fail in nodes of policy `compensate` go through a topic: that
an item is undone is committed before the first compensation begins, so that a restart never finds it half undone and
tries it again. Behind the topic stand the compensations, each fed with the failed items that have passed its step: by
the node they failed in where all ways lead past the step, else by what the step made of them. What no connection takes
from the error port ends as a dead letter when it is undone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from streamflow.compiler.codes import COMPENSATION, NOT_INSTALLED
from streamflow.compiler.graph import ERROR_PORT, Edge, Graph, GraphNode
from streamflow.compiler.partition import staying
from streamflow.model.policies import OnError
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.nodes.compensating import FailAgain
from streamflow.sdk.expression import Expression
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.places import Diagnostic, Place
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.failures import put_in

ALL, UNDO, END = "failed.all", "failed.undo", "failed.undone"  # no user can write such ids


@dataclass(frozen=True, slots=True)
class Compensation:
    """What undoes a step: a node, and for which items."""

    node: str
    when: Expression | None = None


def compensate(
    graph: Graph, compensations: Mapping[str, Compensation], registry: NodeRegistry, *, by_command: bool = False
) -> tuple[Graph, list[Diagnostic]]:
    """The graph with the compensations of its steps wired. `compensations`: by step; their nodes exist. `by_command`:
    executions can be compensated later: the ways of all that may become dead letters are there.
    """
    made = _Compensating(graph, compensations, registry)
    for node in graph.order:
        if graph.nodes[node].errors.on_error == "compensate":
            made.fails(node)
    for node in graph.order if by_command else ():
        if graph.nodes[node].errors.on_error == "dead_letter":
            made.may_be_undone(node)
    return made.graph(), made.findings


@dataclass
class _Compensating:
    before: Graph
    compensations: Mapping[str, Compensation]
    registry: NodeRegistry
    findings: list[Diagnostic] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = self.before.nodes
        self.steps = [s for s in reversed(self.before.order) if s in self.compensations and s in known]
        undoing = {self.compensations[s].node for s in self.steps}
        self.undoing = undoing.union(*(self.before.descendants(n) for n in undoing if n in known))
        self.nodes = dict(known)
        self.edges = list(self.before.edges)
        self.failing: dict[str, list[str]] = {}  # node -> steps to undo
        self.unwired: list[str] = []

    def fails(self, node_id: str) -> None:
        """A node has the policy `compensate`."""
        node = self.nodes[node_id]
        wired = any(e.port == ERROR_PORT for e in self.before.out_of(node_id))
        undoes = node_id not in self.undoing and node.node.spec.can_fail
        steps = [s for s in self.steps if self._settled(s, node_id)] if undoes else []
        if steps:
            self.failing[node_id] = steps
            if not wired:
                self.unwired.append(node_id)
        on_error: OnError = "error_port" if steps or wired else "dead_letter"
        self.nodes[node_id] = replace(node, errors=replace(node.errors, on_error=on_error))

    def may_be_undone(self, node_id: str) -> None:
        """What fails in a node becomes a dead letter, and may be undone by a command: no item takes its wire."""
        node = self.nodes[node_id]
        wired = any(e.port == ERROR_PORT for e in self.before.out_of(node_id))
        steps = [s for s in self.steps if self._settled(s, node_id)]
        may = node.node.spec.can_fail or node.kind == Checkpoint.spec.kind
        if steps and not wired and node_id not in self.undoing and may:
            self.failing[node_id] = steps

    def graph(self) -> Graph:
        """The graph with everything wired. Of nodes that could come next the first comes: behind the topic all stand in
        the order of undoing.
        """
        last: list[GraphNode] = []
        undone = {step for steps in self.failing.values() for step in steps}
        for step in self.steps:
            if step not in undone:
                self._report(
                    self.before.nodes[step],
                    f"nothing behind {step!r} has the policy `compensate`: its compensation never runs.",
                    "Set `on_error: compensate` on a node behind it, or in `policies`.",
                    severity="warning",
                )
        if self.failing:
            first = self.before.nodes[next(iter(self.failing))]
            together = self._made(first, ALL, "merge", {"mode": "append"})
            undo = self._made(first, UNDO, "repartition", staying(first.place))
            if together is None or undo is None:
                return self.before
            last += [together, undo]
            for node in self.failing:
                self._wire(node, ERROR_PORT, together.id)
            self._wire(together.id, "out", undo.id)
            for step in (s for s in self.steps if s in undone):
                last += self._undo(step)
            last += self._end(first)
        nodes = {n: g for n, g in self.nodes.items() if n not in self.undoing}
        nodes |= {g.id: g for g in last}
        nodes |= {n: self.nodes[n] for n in self.nodes if n not in nodes}
        return self._without_idle(replace(self.before, nodes=nodes, edges=tuple(self.edges)))

    def _without_idle(self, graph: Graph) -> Graph:
        """Without compensations that never run, and what only they would feed."""
        live = {n for n in graph.nodes if not graph.nodes[n].node.input_ports()}
        live |= {d for n in list(live) for d in graph.descendants(n)}
        idle = self.undoing - live
        return replace(
            graph,
            nodes={n: g for n, g in graph.nodes.items() if n not in idle},
            edges=tuple(e for e in graph.edges if e.source not in idle and e.target not in idle),
        )

    def _undo(self, step: str) -> list[GraphNode]:
        found, here = self.compensations[step], self.before.nodes[step]
        failing = [node for node, steps in self.failing.items() if step in steps]
        sure = [node for node in failing if not self._around(step, node)]
        passed = [_failed_in(sure)] if sure else []
        if len(sure) < len(failing):
            passed.append(f'nodes["{step}"] is not None')
        when = f"({' or '.join(passed)})" + (f" and ({found.when.text})" if found.when is not None else "")
        place = found.when.place if found.when is not None else here.place
        between = self._made(here, f"{UNDO}~{found.node}", "filter", {"when": Expression(when, place)}, whole_id=False)
        if between is None:
            return []
        target = self.nodes[found.node]
        self._wire(UNDO, "out", between.id)
        self._wire(between.id, "out", target.id, target.node.input_ports()[0].name)
        return [between, target]

    def _end(self, first: GraphNode) -> list[GraphNode]:
        if not self.unwired:
            return []
        made: list[GraphNode] = []
        source = UNDO
        if len(self.unwired) < len(self.failing):
            when = Expression(_failed_in(self.unwired), first.place)
            between = self._made(first, f"{UNDO}~", "filter", {"when": when})
            if between is None:
                return []
            made.append(between)
            self._wire(source, "out", between.id)
            source = between.id
        errors = replace(put_in(first.errors), on_error="dead_letter", fallback="")
        end = GraphNode(
            id=END, kind=FailAgain.spec.kind, node=FailAgain(), raw=RawParams(place=first.place), errors=errors
        )
        self._wire(source, "out", end.id)
        return [*made, end]

    def _settled(self, step: str, node: str) -> bool:
        """Whether rows that have passed a step can get to a node."""
        return self.before.reaches([step], node, lambda e: e.source != step or e.port != ERROR_PORT)

    def _around(self, step: str, node: str) -> bool:
        """Whether rows that have not passed a step can get to a node."""
        return self.before.reaches(self.before.starts(), node, lambda e: e.source != step or e.port == ERROR_PORT)

    def _made(
        self, node: GraphNode, name: str, kind: str, values: Mapping[str, object], *, whole_id: bool = True
    ) -> GraphNode | None:
        """A node that nobody wrote, of id `name`, or below that of the node it stands for."""
        built = self.registry.get(kind)
        if built is None:
            self._report(node, f"node kind {kind!r} is needed here and not installed.", code=NOT_INSTALLED)
            return None
        places: dict[tuple[str | int, ...], Place] = {}
        places |= {(n,): v.place for n, v in values.items() if isinstance(v, Expression)}
        raw = RawParams(values=values, places=places, place=node.place)
        made, found = build(built, raw)
        self.findings += found
        if made is None:
            return None
        errors = replace(put_in(node.errors), on_error="dead_letter", fallback="")
        return GraphNode(id=name if whole_id else f"{node.id}.{name}", kind=kind, node=made, raw=raw, errors=errors)

    def _wire(self, source: str, port: str, target: str, target_port: str = "in") -> None:
        place = self.before.nodes[source if source in self.before.nodes else next(iter(self.failing))].place
        self.edges.append(Edge(source=source, port=port, target=target, target_port=target_port, place=place))

    def _report(
        self,
        node: GraphNode,
        message: str,
        mend: str = "",
        *,
        code: str = COMPENSATION,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        self.findings.append(Diagnostic(place=node.place, code=code, message=message, mend=mend, severity=severity))


def _failed_in(nodes: Sequence[str]) -> str:
    """An expression: whether an item failed in one of these."""
    return f"error.node in [{', '.join(json.dumps(node) for node in nodes)}]"
