"""How far an execution reaches at each node, and whether nodes that act on whole executions can.

An execution is what one trigger item caused; its trigger says whether that is an item, a file, a run or a request.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.compiler.codes import MIXED_EXTENTS, ONE_ROW_EXECUTION, SPREAD_EXECUTION
from streamflow.compiler.graph import Graph, GraphNode
from streamflow.model.policies import Extent
from streamflow.sdk.node import ReadsSource, Repartitions
from streamflow.sdk.places import Diagnostic

# Kinds outside category `split` that may give several rows for one.
_MULTIPLYING = frozenset({"function", "code", "sql"})


def extents(graph: Graph) -> tuple[Mapping[str, Extent], list[Diagnostic]]:
    """The extent of executions at every node, by trigger."""
    reach: dict[str, frozenset[Extent]] = {}
    found: dict[str, Extent] = {}
    findings: list[Diagnostic] = []
    for node_id in graph.order:
        node = graph.nodes[node_id]
        if isinstance(node.node, ReadsSource):
            reach[node_id] = frozenset({node.node.trigger_extent()})
        elif not graph.into(node_id):
            reach[node_id] = frozenset({"item"})
        else:
            reach[node_id] = frozenset().union(*(reach[e.source] for e in graph.into(node_id)))
        # `item` makes the least promise: it holds of whatever arrives.
        found[node_id] = "item" if "item" in reach[node_id] else min(reach[node_id])
        if node.node.spec.whole_set and node_id not in graph.broken:
            findings.extend(_check(graph, node, reach[node_id]))
    return found, findings


def multiplies(node: GraphNode) -> bool:
    """Whether a node may give several rows for one."""
    return node.node.spec.category == "split" or node.kind in _MULTIPLYING


def several_rows(graph: Graph, node_id: str) -> bool:
    """Whether one trigger item may reach `node_id` as several rows: something multiplied it, or branches of it meet."""
    above = graph.ancestors(node_id)
    if any(multiplies(graph.nodes[n]) for n in above):
        return True
    for meeting in (*above, node_id):
        arriving = graph.into(meeting)
        if len(arriving) > 1:
            lines = [graph.ancestors(e.source) | {e.source} for e in arriving]
            if any(a & b for i, a in enumerate(lines) for b in lines[i + 1 :]):
                return True
    return False


def _check(graph: Graph, node: GraphNode, reach: frozenset[Extent]) -> list[Diagnostic]:
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
    if reach == {"item"}:
        if several_rows(graph, node.id):
            return []
        return [
            Diagnostic(
                place=node.place,
                code=ONE_ROW_EXECUTION,
                message=f"node {node.id!r} ({node.kind}) acts on all rows of an execution, but here each execution is "
                "one item: its trigger never ends.",
                mend="Split or batch the items before it, or use a node with a window or a count.",
            )
        ]
    for above in sorted(graph.ancestors(node.id)):
        spreads = graph.nodes[above].node
        if isinstance(spreads, Repartitions) and spreads.partitions() != 1:
            return [
                Diagnostic(
                    place=node.place,
                    code=SPREAD_EXECUTION,
                    message=f"node {node.id!r} ({node.kind}) acts on all rows of a {min(reach)}, but {above!r} spreads "
                    "them over several partitions.",
                    mend=f"Put it before {above!r}, or give {above!r} one partition.",
                )
            ]
    return []
