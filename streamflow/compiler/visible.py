"""Which earlier nodes an expression may name as `nodes.<id>`, and with what schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamflow.compiler.graph import FAILED_PORTS, Edge, Graph, NodeTypes
from streamflow.model.types import Schema


def visible_nodes(graph: Graph, node_id: str, types: Mapping[str, NodeTypes]) -> Mapping[str, Schema]:
    """Nodes that every item, or (then with nullable fields) some item, of this node has passed.

    Where several ports are combined only what all of them share has one meaning. Where a node makes new items out of
    whole executions (aggregate), what came before belongs to none of them.
    """
    if not graph.into(node_id):
        return {}
    ports: dict[str, list[Mapping[str, Schema]]] = {}
    aside = {p.name for p in graph.nodes[node_id].node.input_ports() if p.aside}
    for edge in graph.into(node_id):
        if edge.target_port in aside:
            continue
        ports.setdefault(edge.target_port, []).append(_along(graph, edge, types))
    by_port = [_either(lines) for lines in ports.values()]
    if len(by_port) == 1:
        return by_port[0]
    shared = set(by_port[0]).intersection(*by_port[1:])
    return {n: _weakest([seen[n] for seen in by_port]) for n in by_port[0] if n in shared}


def _along(graph: Graph, edge: Edge, types: Mapping[str, NodeTypes]) -> Mapping[str, Schema]:
    source = types[edge.source]
    before = {} if graph.nodes[edge.source].node.makes_new_items() else dict(source.visible)
    made = source.primary()  # of a loop what it sends round, also behind its end
    node = graph.nodes[edge.source]
    keys_only = edge.port == "gone" and (node.is_trigger or node.repartitions)  # there is no item
    if edge.port not in FAILED_PORTS and not keys_only and made is not None and node.is_written:
        before[edge.source] = made
    return before


def _either(lines: list[Mapping[str, Schema]]) -> Mapping[str, Schema]:
    """What holds of an item that came by one of several wires."""
    if len(lines) == 1:
        return lines[0]
    seen: dict[str, Schema] = {}
    for line in lines:
        for node, schema in line.items():
            seen.setdefault(node, schema if all(node in other for other in lines) else _nullable(schema))
    return {n: _weakest([line[n] for line in lines if n in line] + [s]) for n, s in seen.items()}


def _weakest(schemas: list[Schema]) -> Schema:
    """The one of equal schemas whose fields are nullable, if any is."""
    return next((s for s in schemas if s == _nullable(s)), schemas[0])


def _nullable(schema: Schema) -> Schema:
    return replace(schema, fields=tuple(replace(f, type=f.type.optional()) for f in schema.fields)).optional()
