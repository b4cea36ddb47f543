"""How far an execution reaches at each node, and whether nodes that act on whole executions can.

An execution is what one trigger item caused; its trigger says whether that is an item, a file, a run or a request.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.compiler.codes import MIXED_EXTENTS, ONE_ROW_EXECUTION, SPREAD_EXECUTION
from streamflow.compiler.graph import Graph, GraphNode
from streamflow.model.batch import EXECUTION
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
        findings.extend(_unrelated(graph, node))
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
    if reach == {"item"} and not several_rows(graph, node.id):
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
        if _spreads(graph, above, reach):
            mend = f"Put it before {above!r}"
            return [
                Diagnostic(
                    place=node.place,
                    code=SPREAD_EXECUTION,
                    message=f"node {node.id!r} ({node.kind}) acts on all rows of an execution ({min(reach)}), but "
                    f"{above!r} spreads them over several partitions.",
                    mend=f"{mend}." if reach == {"item"} else f"{mend}, or give {above!r} one partition.",
                )
            ]
    return []


def _spreads(graph: Graph, node_id: str, reach: frozenset[Extent]) -> bool:
    """Whether a node takes the rows of one execution apart."""
    node = graph.nodes[node_id].node
    if not isinstance(node, Repartitions):
        return False
    # Rows of an item are together within a step only until they go through a topic.
    return several_rows(graph, node_id) if reach == {"item"} else node.partitions() != 1


def _unrelated(graph: Graph, node: GraphNode) -> list[Diagnostic]:
    """Ports that are combined by execution, fed by different triggers: no execution is ever at both."""
    ports: dict[str, set[str]] = {}
    for edge in graph.into(node.id):
        above = graph.ancestors(edge.source) | {edge.source}
        ports.setdefault(edge.target_port, set()).update(n for n in above if not graph.into(n))
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
