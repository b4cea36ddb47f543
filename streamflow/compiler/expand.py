"""Nodes that stand for several are replaced by these: a join by foreign key needs its rows in two places.

The last of the parts keeps the id, so that everything behind finds it; the others are named `<id>.<part>`, which no
user can write.
"""

from __future__ import annotations

from dataclasses import replace

from streamflow.compiler.graph import ERROR_PORT, Edge, Graph, GraphNode
from streamflow.model.policies import ErrorPolicy


def expand(graph: Graph) -> Graph:
    """The graph with the parts of each node that has some."""
    nodes: dict[str, GraphNode] = {}
    edges, broken = list(graph.edges), set(graph.broken)
    for node in graph.nodes.values():
        parts = node.node.parts()
        if parts is None:
            nodes[node.id] = node
            continue
        ids = {name: f"{node.id}.{name}" if name else node.id for name in parts.nodes}
        for name, part in parts.nodes.items():
            errors = ErrorPolicy() if name in parts.apart else node.errors
            nodes[ids[name]] = replace(node, id=ids[name], kind=part.spec.kind, node=part, errors=errors)
            if node.id in graph.broken:
                broken.add(ids[name])
        moved: list[Edge] = []
        for edge in edges:
            if edge.target == node.id:
                part_name, port = parts.inputs[edge.target_port]
                edge = replace(edge, target=ids[part_name], target_port=port)
            if edge.source == node.id and edge.port == ERROR_PORT:
                edge = replace(edge, source=ids[parts.failing])
            elif edge.source == node.id and edge.port in parts.outputs:
                part_name, port = parts.outputs[edge.port]
                edge = replace(edge, source=ids[part_name], port=port)
            moved.append(edge)
        edges = moved + [
            Edge(source=ids[a], port=port, target=ids[b], target_port=to, place=node.place)
            for a, port, b, to in parts.wires
        ]
    return replace(graph, nodes=nodes, edges=tuple(edges), broken=frozenset(broken))
