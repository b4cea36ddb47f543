"""Where rows must change partition: repartition nodes are put before keyed ports that need them.

Only what cannot be seen to be partitioned right already is repartitioned: rows that come, through nodes that change
neither items nor keys, from a repartition by the same expression, or from a topic of which that is said. Where others
come to a node by a repartition of so many partitions, the one put in for the rest has as many. Topics that are all said
to be partitioned by the key of the node where they meet, and in one way, are taken where they lie; that they have
equally many partitions is checked when a worker begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamflow.compiler.codes import COPARTITION, NO_KEY, NOT_INSTALLED, SPREAD_KEYS
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Port, Repartitions
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.places import Diagnostic, Place
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.failures import put_in


def partition(graph: Graph, registry: NodeRegistry) -> tuple[Graph, list[Diagnostic]]:
    """Put a repartition before every keyed port whose rows are not partitioned by its key."""
    findings: list[Diagnostic] = []
    nodes, edges, broken = dict(graph.nodes), list(graph.edges), set(graph.broken)
    for node in graph.nodes.values():
        for port, beside in _pairs(graph, node):
            arriving = [e for e in graph.into(node.id) if e.target_port == port.name]
            key = node.node.port_key(port.name)
            if key is None:
                findings.append(
                    Diagnostic(
                        place=node.place,
                        code=NO_KEY,
                        message=f"node {node.written_id!r} ({node.kind.partition('.')[0]}): port {port.name!r} takes "
                        "rows by key, but has none.",
                        mend="Set `key` to what makes two rows belong together.",
                    )
                )
                if _meets(graph, node):  # without this wire: that it brings rows past a repartition would follow
                    broken.add(node.id)
                    edges = [e for e in edges if e not in arriving]
            elif spread := next((s for e in arriving if (s := _spread_otherwise(graph, e.source)) is not None), None):
                findings.append(_spread_keys(node, port, key, spread))
            elif not all(_all_partitioned(graph, node, p) for p in (port, beside) if p is not None):
                between = _repartition(node, port, key, beside, _wanted(graph, node), registry, findings)
                if between is not None:
                    nodes[between.id] = between
                    edges = _through(edges, node, between.id, port.name, "in", "out")
                    if beside is not None:
                        edges = _through(edges, node, between.id, beside.name, "gone", "gone")
    made = replace(graph, nodes=nodes, edges=tuple(edges), broken=frozenset(broken))
    return made, [*findings, *(f for n in graph.nodes.values() for f in _unequal(made, n))]


def _pairs(graph: Graph, node: GraphNode) -> list[tuple[Port, Port | None]]:
    """Connected keyed ports, each with the one that goes beside it, if that is connected."""
    if node.node.is_global():
        return []  # whoever keeps it reads all partitions
    wired = {e.target_port for e in graph.into(node.id)}
    ports = [p for p in node.node.input_ports() if p.keyed and p.name in wired]
    beside = {p.beside: p for p in ports if p.beside}
    return [(p, beside.get(p.name)) for p in ports if not p.beside]


def _all_partitioned(graph: Graph, node: GraphNode, port: Port) -> bool:
    """Whether all rows of a port are where its key puts them."""
    key, meets = node.node.port_key(port.name), _meets(graph, node) and not lying_alike(graph, node)
    return key is not None and all(
        _partitioned_by(graph, e.source, key.text, meets=meets)
        for e in graph.into(node.id)
        if e.target_port == port.name
    )


def _through(edges: list[Edge], node: GraphNode, between: str, port: str, enter: str, leave: str) -> list[Edge]:
    """Edges into a port, led through `between`: in by its port `enter`, and on by `leave`."""
    made = [
        replace(e, target=between, target_port=enter) if (e.target, e.target_port) == (node.id, port) else e
        for e in edges
    ]
    return [*made, Edge(source=between, port=leave, target=node.id, target_port=port, place=node.place)]


def _unequal(graph: Graph, node: GraphNode) -> list[Diagnostic]:
    """Inputs that meet by key must be in equal numbers of partitions."""
    keyed = {p.name for p in node.node.input_ports() if p.keyed}
    counts: dict[str, int | None] = {}
    for edge in graph.into(node.id):
        for spreads in _repartitions(graph, edge.source) if edge.target_port in keyed else ():
            assert isinstance(spreads.node, Repartitions)
            counts[spreads.id] = spreads.node.spread_over()
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


def _wanted(graph: Graph, node: GraphNode) -> int | None:
    """Into how many partitions the workflow puts rows that meet others at a node, where it says so."""
    for port in node.node.input_ports():
        key = node.node.port_key(port.name) if port.keyed else None
        for edge in graph.into(node.id):
            if key is None or edge.target_port != port.name:
                continue
            spreads = _nearest_repartition(graph, edge.source)
            if spreads is None:
                continue  # a topic that the workflow only reads, or a table that is going to have a repartition
            if _partitioned_by(graph, edge.source, key.text, meets=True):
                assert isinstance(spreads.node, Repartitions)
                if (count := spreads.node.spread_over()) is not None:
                    return count
    return None


def _meets(graph: Graph, node: GraphNode) -> bool:
    """Whether rows of several inputs meet at a node by key: then all of them have to be put where their keys belong.

    A topic that the workflow only reads may have any number of partitions, and any way to choose one, unless it is said
    (`lying_alike`). What a table gives may meet others behind it.
    """
    keyed = {p.name for p in node.node.input_ports() if p.keyed}
    wires = [e for e in graph.into(node.id) if e.target_port in keyed]
    return (
        node.kind == "table"
        or len({e.target_port for e in wires}) > 1
        or len(set[str]().union(*(_origins(graph, e.source) for e in wires))) > 1
    )


def lying_alike(graph: Graph, node: GraphNode) -> tuple[str, ...]:
    """The triggers whose topics meet at a node where they lie, since all are said to be partitioned by its key, and in
    one way.
    """
    keys = {p.name: node.node.port_key(p.name) for p in node.node.input_ports() if p.keyed}
    origins: set[str] = set()
    for edge in graph.into(node.id) if node.kind != "table" else ():
        if edge.target_port in keys:
            key, found = keys[edge.target_port], _origins(graph, edge.source)
            if key is None or not all(graph.nodes[n].is_trigger for n in found):
                return ()
            if not _partitioned_by(graph, edge.source, key.text, meets=False):
                return ()
            origins |= found
    hows = {getattr(graph.nodes[n].node, "partitioner", None) for n in origins}
    return tuple(sorted(origins)) if len(origins) > 1 and len(hows) == 1 and None not in hows else ()


def _origins(graph: Graph, node: str) -> set[str]:
    """The nodes, seen through those that pass rows on as they are, which put the rows of `node` where they are."""
    here = graph.nodes[node]
    if here.repartitions or here.is_trigger or not _passes_on(here):
        return {node}
    return set[str]().union(*(_origins(graph, e.source) for e in graph.into(node)))


def _repartitions(graph: Graph, node: str) -> list[GraphNode]:
    """The repartitions whose partitions the rows of `node` are in."""
    found = (_nearest_repartition(graph, origin) for origin in sorted(_origins(graph, node)))
    return [n for n in found if n is not None]


def _nearest_repartition(graph: Graph, node: str) -> GraphNode | None:
    """The repartition whose partitions the rows of `node` are in."""
    while not graph.nodes[node].repartitions:
        arriving = graph.into(node)
        if not arriving:
            return None
        node = arriving[0].source
    return graph.nodes[node]


def _partitioned_by(graph: Graph, node: str, key: str, *, meets: bool) -> bool:
    """Whether rows leaving `node` were repartitioned by `key` and nothing could have changed it since."""
    here = graph.nodes[node]
    if here.repartitions:
        found = getattr(here.node, "key", None)
        return _by_key(here) and isinstance(found, Expression) and found.text == key
    if here.is_trigger:  # what others did to their topic is known if it is said, and not to be counted on by two
        said = getattr(here.node, "partitioned_by", None)
        return not meets and isinstance(said, Expression) and said.text == key
    if here.kind == "table":  # gives rows as they came, and those it kept, where their key put them
        mine = here.node.port_key("in")
        return mine is not None and mine.text == key
    if not _passes_on(here):
        return False
    arriving = graph.into(node)
    return bool(arriving) and all(_partitioned_by(graph, e.source, key, meets=meets) for e in arriving)


def _passes_on(node: GraphNode) -> bool:
    """Whether it changes neither items nor keys."""
    return node.node.spec.category == "condition" or node.kind in ("pass", "no-op", "limit", "checkpoint")


def _by_key(node: GraphNode) -> bool:
    return getattr(node.node, "partition_by", "key") == "key"


def _spread_otherwise(graph: Graph, node: str) -> GraphNode | None:
    """The repartition that rows come from, with nothing between that works on them, if it does not go by key."""
    here = graph.nodes[node]
    if here.repartitions:
        return None if _by_key(here) or not here.is_written else here
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


def staying(place: Place) -> Mapping[str, object]:
    """Parameters of a repartition that leaves rows in their partitions."""
    return {"partition_by": "expression", "partition": Expression("meta.partition", place)}


def _repartition(
    node: GraphNode,
    port: Port,
    key: Expression,
    beside: Port | None,
    partitions: int | None,
    registry: NodeRegistry,
    findings: list[Diagnostic],
) -> GraphNode | None:
    kind = registry.get("repartition")
    keys = {"key": key}
    if beside is not None and (of_deletions := node.node.port_key(beside.name)) is not None and of_deletions != key:
        keys["gone_key"] = of_deletions
    counted = {} if partitions is None else {"partition_count": partitions}
    raw = RawParams(values={**keys, **counted}, places={(name,): e.place for name, e in keys.items()}, place=node.place)
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
    return GraphNode(id=f"{node.id}.{port.name}", kind="repartition", node=made, raw=raw, errors=put_in(node.errors))
