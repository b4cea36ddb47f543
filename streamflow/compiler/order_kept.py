"""Where the order of a key's items is given up, and something behind rests on it: said, not forbidden."""

from __future__ import annotations

from streamflow.compiler.codes import ORDER_GIVEN_UP
from streamflow.compiler.graph import Graph, GraphNode
from streamflow.sdk.places import Diagnostic


def check_order(graph: Graph) -> list[Diagnostic]:
    """A warning for each node whose items overtake each other on the way to nodes that take them by key."""
    findings = []
    for node in graph.nodes.values():
        if not node.errors.retry.delays or not node.node.spec.can_fail:
            continue
        behind = graph.descendants(node.id)
        rests = [n.written_id for n in graph.nodes.values() if n.id in behind and _takes_by_key(n)]
        if rests:
            names = ", ".join(repr(name) for name in dict.fromkeys(rests))
            place = node.policy_place if node.policy_place.line else node.place
            message = f"node {node.written_id!r} delays items: others of their key overtake them on the way to {names}."
            mend = "Where their order counts say `mode: park`; a window may hold what comes late to be late."
            findings.append(
                Diagnostic(place=place, code=ORDER_GIVEN_UP, message=message, mend=mend, severity="warning")
            )
    return findings


def _takes_by_key(node: GraphNode) -> bool:
    return any(port.keyed for port in node.node.input_ports())
