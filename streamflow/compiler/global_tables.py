"""Global tables: the wires from them become references. No row flows there; a task that looks in keeps a copy.

Such a table has a trigger that reads its topic, and nodes that look into it. Both are checked here; behind this pass
the table stands in the graph to be typed, and no stage runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamflow.compiler.codes import GLOBAL_TABLE
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.sdk.places import Diagnostic

_FED_BY = {"in": "out", "gone": "gone"}  # ports of a table, and those of its trigger


def refer_to_global_tables(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """The graph with nodes that look into global tables, and findings where one stands wrong."""
    tables = [node for node in graph.nodes.values() if node.node.is_global()]
    if not tables:
        return graph, []
    findings = [finding for table in tables for finding in _fed_wrong(graph, table)]
    nodes, references = dict(graph.nodes), dict(graph.references)
    edges, broken = list(graph.edges), set(graph.broken)
    for table in tables:
        for edge in graph.out_of(table.id):
            wrong = _used_wrong(graph, table, edge)
            looking = graph.nodes[edge.target].node.looking_into(edge.target_port, table.node)
            edges.remove(edge)
            if wrong is not None or looking is None:
                findings.extend(() if wrong is None else (wrong,))
                broken.add(edge.target)
                continue
            references[edge.target] = table.id
            nodes[edge.target] = replace(graph.nodes[edge.target], kind=looking.spec.kind, node=looking)
    return replace(graph, nodes=nodes, edges=tuple(edges), broken=frozenset(broken), references=references), findings


def _fed_wrong(graph: Graph, table: GraphNode) -> Sequence[Diagnostic]:
    """A trigger that reads a topic from its beginning, and nothing else, feeds the table."""
    arriving = graph.into(table.id)
    sources = {edge.source for edge in arriving}
    for edge in arriving:
        source = graph.nodes[edge.source]
        if not source.reads_topic or edge.port != _FED_BY[edge.target_port]:
            what = f"{edge.start} ({source.kind})"
            return [
                _finding(
                    edge,
                    f"global table {table.id!r} is fed by {what}: each task reads it by itself, from a topic.",
                    f"Connect a trigger that reads the table's topic to {table.id!r}; if rows have to be changed "
                    "before, `publish` them to a topic and read that.",
                )
            ]
        if getattr(source.node, "start", "earliest") != "earliest":
            return [
                _finding(
                    edge,
                    f"global table {table.id!r} is read from the beginning of its topic, but {source.id!r} says "
                    "`start: latest`.",
                    f"Leave `start` of {source.id!r} out.",
                )
            ]
    if len(sources) > 1:
        told = ", ".join(repr(s) for s in sorted(sources))
        return [
            _finding(
                arriving[-1],
                f"global table {table.id!r} is fed by {told}: it is one topic's.",
                "Use one trigger for it, or a table for each.",
            )
        ]
    return []


def _used_wrong(graph: Graph, table: GraphNode, edge: Edge) -> Diagnostic | None:
    """A node that can look into a table has it at the port for that, and nothing else there."""
    target = graph.nodes[edge.target]
    kind = target.kind.partition(".")[0]
    if edge.port != "out" or target.node.looking_into(edge.target_port, table.node) is None:
        return _finding(
            edge,
            f"{edge.start} goes to port {edge.target_port!r} of {target.written_id!r} ({kind}), but {table.id!r} is a "
            "global table, which gives no changes.",
            f"Look into it with a `lookup` (its port `table`), or leave `scope` of {table.id!r} out.",
        )
    beside = {p.name for p in target.node.input_ports() if p.beside == edge.target_port}
    for other in graph.into(target.id):
        if other != edge and (other.target_port == edge.target_port or other.target_port in beside):
            return _finding(
                other,
                f"port {other.target_port!r} of {target.written_id!r} ({kind}) is fed by {other.start}, but it looks "
                f"into global table {table.id!r}, which is whole.",
                f"Remove this connection, or leave `scope` of {table.id!r} out.",
            )
    return None


def _finding(edge: Edge, message: str, mend: str) -> Diagnostic:
    return Diagnostic(place=edge.place, code=GLOBAL_TABLE, message=message, mend=mend)
