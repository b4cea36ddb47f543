"""Whether the bodies of loops can be run within a step, round after round, on rows that only their loops send there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from streamflow.compiler.codes import LOOP_BODY
from streamflow.compiler.graph import BODY_PORT, Graph, GraphNode
from streamflow.sdk.node import Repartitions, Repeats
from streamflow.sdk.places import Diagnostic, Place


def check_loops(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """Report bodies that cannot be run so; what hangs on these loops is marked."""
    findings: list[Diagnostic] = []
    broken = set(graph.broken)
    for node in graph.nodes.values():
        if isinstance(node.node, Repeats) and node.id not in graph.broken and (found := list(_check(graph, node))):
            findings += found
            broken.add(node.id)
    return replace(graph, broken=frozenset(broken)), findings


def _check(graph: Graph, loop: GraphNode) -> Iterator[Diagnostic]:
    if loop.id not in graph.bodies:
        return  # that nothing leads back was reported, unless what should is disabled
    body = graph.bodies[loop.id]
    for edge in graph.back_to(loop.id):
        if edge.source not in body:
            yield _finding(
                edge.place,
                f"{edge.source!r} leads back to loop {loop.id!r}, but nothing that leaves by {loop.id}.{BODY_PORT} "
                "gets there.",
                f"Connect `{loop.id}.{BODY_PORT}` to the first node of the body.",
            )
    for other in graph.bodies:
        if other in body and loop.id in graph.bodies[other] and loop.id < other:
            yield _finding(
                loop.place,
                f"loops {loop.id!r} and {other!r} are each in the body of the other.",
                f"Let {other}.done lead back to {loop.id!r}, so that one is inside the other.",
            )
            return
    for node_id in (n for n in graph.order if n in body):
        node = graph.nodes[node_id]
        if (why := _cannot(graph, node)) is not None:
            yield _finding(
                node.place,
                f"node {node.written_id!r} ({node.kind}) {why}: not within a loop (it is in the body of {loop.id!r}).",
                f"Put it before {loop.id!r}, or behind {loop.id}.done.",
            )
        for edge in graph.into(node_id):
            if edge.source not in body and (edge.source, edge.port) != (loop.id, BODY_PORT):
                yield _finding(
                    edge.place,
                    f"rows of {edge.start} would enter the body of loop {loop.id!r} at {node_id!r}, in the middle of a "
                    "round.",
                    f"Connect {edge.source!r} to {loop.id!r}, or behind {loop.id}.done.",
                )


def _cannot(graph: Graph, node: GraphNode) -> str | None:
    """What keeps a node from being run several times a step on some of its rows."""
    kind = node.node
    if isinstance(kind, Repartitions):
        return "moves rows to other partitions"
    if any(port.keyed for port in kind.input_ports()) and node.id not in graph.references:
        return "takes rows by key"
    if isinstance(kind, Repeats) and kind.acts_on_executions():
        return "goes through the items of a whole execution"
    if kind.acts_on_executions():
        return "acts on whole executions"
    if kind.parts() is not None or kind.stores("item") or kind.stores("run"):
        return "keeps rows from step to step"
    return None


def _finding(place: Place, message: str, mend: str) -> Diagnostic:
    return Diagnostic(place=place, code=LOOP_BODY, message=message, mend=mend)
