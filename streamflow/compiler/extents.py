"""How far an execution reaches at each node, and whether nodes that act on whole executions can.

An execution is what one trigger item caused; its trigger says whether that is an item, a file, a run or a request.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.compiler.codes import MIXED_EXTENTS, ONE_ROW_EXECUTION, SPREAD_EXECUTION
from streamflow.compiler.gather import on_the_way
from streamflow.compiler.graph import Graph, GraphNode
from streamflow.compiler.spread import Spreads, several_rows, triggers
from streamflow.model.batch import EXECUTION
from streamflow.model.policies import Extent
from streamflow.nodes.gather import Gather
from streamflow.sdk.node import ReadsSource
from streamflow.sdk.places import Diagnostic


def extents(graph: Graph) -> tuple[Mapping[str, Extent], list[Diagnostic]]:
    """The extent of executions at every node, by trigger."""
    reach: dict[str, frozenset[Extent]] = {}
    found: dict[str, Extent] = {}
    findings: list[Diagnostic] = []
    spreads = Spreads(graph)
    for node_id in graph.order:
        node = graph.nodes[node_id]
        if isinstance(node.node, ReadsSource):
            reach[node_id] = frozenset({node.node.trigger_extent()})
        elif not graph.into(node_id):
            reach[node_id] = frozenset({"item"} if node.node.starts_executions() else ())
        else:
            reach[node_id] = frozenset().union(*(reach[e.source] for e in graph.into(node_id)))
        # `item` makes the least promise: it holds of whatever arrives.
        found[node_id] = "item" if "item" in reach[node_id] else min(reach[node_id], default="item")
        unrelated = _unrelated(graph, node)
        findings.extend(unrelated)
        if node.node.acts_on_executions() and node_id not in graph.broken and not unrelated:
            findings.extend(_check(graph, spreads, node, reach[node_id]))
    return found, findings


def _check(graph: Graph, spreads: Spreads, node: GraphNode, reach: frozenset[Extent]) -> list[Diagnostic]:
    if len(reach) > 1:
        kinds = ", ".join(sorted(reach))
        return [
            Diagnostic(
                place=node.place,
                code=MIXED_EXTENTS,
                message=f"node {node.id!r} ({node.kind}) acts on whole executions, but executions of different extent "
                f"({kinds}) meet here.",
                mend="Use one node for each trigger.",
            )
        ]
    if reach == {"item"} and not several_rows(graph, node.id):
        return [
            Diagnostic(
                place=node.place,
                code=ONE_ROW_EXECUTION,
                message=f"node {node.id!r} ({node.kind}) acts on all rows of an execution, but here each execution is "
                "one item: its trigger never ends.",
                mend=f"Split the items before it{_or_stream(node)}, or use a node with a window.",
            )
        ]
    if all(isinstance(graph.nodes[e.source].node, Gather) for e in graph.into(node.id)):
        return []  # also one that takes rows as they come
    apart = spreads.before(node.id, min(reach))
    if apart is not None:
        why, odd = apart.why, on_the_way(graph, node.id).obstacle if reach == {"item"} else ""
        if odd:
            kind = graph.nodes[odd].kind
            why += f"; and {odd!r} ({kind}) keeps rows, so that nobody can know when the last of an execution has come"
        return [
            Diagnostic(
                place=node.place,
                code=SPREAD_EXECUTION,
                message=f"node {node.id!r} ({node.kind}) acts on all rows of an execution ({min(reach)}), but {why}.",
                mend=f"{apart.mend}{_or_stream(node)}.",
            )
        ]
    return []


def _or_stream(node: GraphNode) -> str:
    mend = node.node.spec.whole_set_mend
    return f", or set {mend}" if mend else ""


def _unrelated(graph: Graph, node: GraphNode) -> list[Diagnostic]:
    """Ports that are combined by execution, fed by different triggers: no execution is ever at both."""
    ports: dict[str, set[str]] = {}
    for edge in graph.into(node.id):
        ports.setdefault(edge.target_port, set()).update(triggers(graph, edge.source))
    if len(ports) < 2 or EXECUTION not in node.node.spec.needs or set.intersection(*ports.values()):
        return []
    fed = "; ".join(f"{port} by {', '.join(sorted(t))}" for port, t in ports.items())
    return [
        Diagnostic(
            place=node.place,
            code=MIXED_EXTENTS,
            message=f"node {node.id!r} ({node.kind}) brings rows of one execution together, but its ports are fed by "
            f"different triggers ({fed}).",
            mend="Join them by key with a window, or feed the ports from one trigger.",
            severity="warning",
        )
    ]
