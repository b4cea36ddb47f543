"""Where rows must change partition: repartition nodes are put before keyed ports that need them.

Only what cannot be seen to be partitioned right already is repartitioned: rows that come, through nodes that change
neither items nor keys, from a repartition by the same expression.
"""

from __future__ import annotations

from dataclasses import replace

from streamflow.compiler.codes import COPARTITION, NO_KEY, NOT_INSTALLED, SPREAD_KEYS
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Port, Repartitions
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.places import Diagnostic
from streamflow.sdk.registry import NodeRegistry


def partition(graph: Graph, registry: NodeRegistry) -> tuple[Graph, list[Diagnostic]]:
    """Put a repartition before every keyed port whose rows are not partitioned by its key."""
    findings: list[Diagnostic] = []
    nodes, edges = dict(graph.nodes), list(graph.edges)
    for node in graph.nodes.values():
        for port in node.node.input_ports():
            arriving = [e for e in graph.into(node.id) if e.target_port == port.name]
            if not port.keyed or not arriving:
                continue
            key = _key_of(node, port)
            if key is None:
                findings.append(
                    Diagnostic(
                        place=node.place,
                        code=NO_KEY,
                        message=f"node {node.id!r} ({node.kind}): port {port.name!r} takes rows by key, but has none.",
                        mend="Set `key` to what makes two rows belong together.",
                    )
                )
            elif spread := next((s for e in arriving if (s := _spread_otherwise(graph, e.source)) is not None), None):
                findings.append(_spread_keys(node, port, key, spread))
            elif not all(_partitioned_by(graph, e.source, key.text) for e in arriving):
                between = _repartition(node, port, key, registry, findings)
                if between is not None:
                    nodes[between.id] = between
                    edges = [
                        replace(e, target=between.id, target_port="in")
                        if e.target == node.id and e.target_port == port.name
                        else e
                        for e in edges
                    ]
                    edges.append(
                        Edge(source=between.id, port="out", target=node.id, target_port=port.name, place=node.place)
                    )
    made = Graph(nodes=nodes, edges=tuple(edges), broken=graph.broken)
    return made, [*findings, *(f for n in graph.nodes.values() for f in _unequal(made, n))]


def _unequal(graph: Graph, node: GraphNode) -> list[Diagnostic]:
    """Inputs that meet by key must be in equal numbers of partitions."""
    keyed = {p.name for p in node.node.input_ports() if p.keyed}
    counts: dict[str, int | None] = {}
    for edge in graph.into(node.id) if len(keyed) > 1 else ():
        spreads = _nearest_repartition(graph, edge.source)
        if edge.target_port in keyed and spreads is not None and isinstance(spreads.node, Repartitions):
            counts[spreads.id] = spreads.node.partitions()
    if len(set(counts.values())) < 2:
        return []
    got = ", ".join(f"{n}: {'as the stage before it' if c is None else c}" for n, c in counts.items())
    return [
        Diagnostic(
            place=node.place,
            code=COPARTITION,
            message=f"node {node.id!r} ({node.kind}): what meets by key is in unequal numbers of partitions ({got}).",
            mend="Give all of these repartitions the same number of partitions.",
        )
    ]


def _nearest_repartition(graph: Graph, node: str) -> GraphNode | None:
    """The repartition whose partitions the rows of `node` are in."""
    while not graph.nodes[node].repartitions:
        arriving = graph.into(node)
        if not arriving:
            return None
        node = arriving[0].source
    return graph.nodes[node]


def _key_of(node: GraphNode, port: Port) -> Expression | None:
    """A node says its key as parameter `key`, or `<port>_key` where its inputs have keys of their own."""
    for name in (f"{port.name}_key", "key"):
        found = getattr(node.node, name, None)
        if isinstance(found, Expression):
            return found
    return None


def _partitioned_by(graph: Graph, node: str, key: str) -> bool:
    """Whether rows leaving `node` were repartitioned by `key` and nothing could have changed it since."""
    here = graph.nodes[node]
    if here.repartitions:
        found = getattr(here.node, "key", None)
        return _by_key(here) and isinstance(found, Expression) and found.text == key
    if not _passes_on(here):
        return False
    arriving = graph.into(node)
    return bool(arriving) and all(_partitioned_by(graph, e.source, key) for e in arriving)


def _passes_on(node: GraphNode) -> bool:
    """Whether it changes neither items nor keys."""
    return node.node.spec.category == "condition" or node.kind in ("pass", "no-op", "limit")


def _by_key(node: GraphNode) -> bool:
    return getattr(node.node, "partition_by", "key") == "key"


def _spread_otherwise(graph: Graph, node: str) -> GraphNode | None:
    """The repartition that rows come from, with nothing between that works on them, if it does not go by key."""
    here = graph.nodes[node]
    if here.repartitions:
        return None if _by_key(here) else here
    if not _passes_on(here):
        return None
    return next((s for e in graph.into(node) if (s := _spread_otherwise(graph, e.source)) is not None), None)


def _spread_keys(node: GraphNode, port: Port, key: Expression, spread: GraphNode) -> Diagnostic:
    how = getattr(spread.node, "partition_by", "")
    return Diagnostic(
        place=node.place,
        code=SPREAD_KEYS,
        message=f"node {node.id!r} ({node.kind}): port {port.name!r} takes rows by `{key.text}`, but {spread.id!r} "
        f"spreads them over partitions by {how.replace('_', ' ')}.",
        mend=f"Set `key: {key.text}` on {spread.id!r} and leave its `partition_by` out, or remove it: "
        f"{node.id!r} gets a repartition by itself.",
    )


def _repartition(
    node: GraphNode, port: Port, key: Expression, registry: NodeRegistry, findings: list[Diagnostic]
) -> GraphNode | None:
    kind = registry.get("repartition")
    raw = RawParams(values={"key": key}, places={("key",): key.place}, place=node.place)
    if kind is None:
        findings.append(
            Diagnostic(
                place=node.place,
                code=NOT_INSTALLED,
                message=f"node {node.id!r} needs its rows repartitioned, but node kind 'repartition' is not installed.",
            )
        )
        return None
    made, found = build(kind, raw)
    findings.extend(found)
    if made is None:
        return None
    # Dots are not allowed in ids that users write: this one cannot collide, and is legal in names of topics.
    return GraphNode(id=f"{node.id}.{port.name}", kind="repartition", node=made, raw=raw, errors=node.errors)
