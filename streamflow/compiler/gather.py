"""Rows of an execution that were taken apart are brought together before a node that needs all of them.

Such a node gets two before it: `<node>.rows` sends what comes to it to one partition for each execution, and
`<node>.gather` keeps it there until no more can come (docs/decisions/0033). That is known where every row on the way is
counted: on topics between stages, in nodes that wait, and in queues of items that are tried again. Where a node on the
way keeps rows otherwise, or executions span steps, nothing is put in, and `extents` refuses the workflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamflow.compiler.fuse import Groups
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.compiler.partition import partition
from streamflow.compiler.spread import Spreads, several_rows, triggers
from streamflow.nodes.gather import Gather, GatherSend
from streamflow.nodes.merge import Merge
from streamflow.sdk.node import ReadsSource
from streamflow.sdk.params import RawParams
from streamflow.sdk.places import Diagnostic
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.failures import put_in
from streamflow.topology.plan import FeedPlan, HoldPlan

ROWS, GATHER = "rows", "gather"  # behind the id of the node, with a dot: no user can write such ids


def gather(graph: Graph, registry: NodeRegistry) -> tuple[Graph, list[Diagnostic]]:
    """The graph with gathers where they are needed. Nodes behind may need their rows repartitioned again."""
    findings: list[Diagnostic] = []
    while (node := _next(graph)) is not None:
        graph, more = partition(_put_before(graph, *node), registry)
        findings += [f for f in more if f not in findings]
    return graph, findings


def _next(graph: Graph) -> tuple[str, str] | None:
    """The first node that needs a gather, and why."""
    spreads = Spreads(graph)
    for node_id in graph.order:
        node = graph.nodes[node_id]
        if not node.node.acts_on_executions() or node_id in graph.broken or f"{node_id}.{GATHER}" in graph.nodes:
            continue
        sources = [graph.nodes[t].node for t in triggers(graph, node_id)]
        spans = any(isinstance(s, ReadsSource) and s.trigger_extent() != "item" for s in sources)
        if spans or not sources or not several_rows(graph, node_id) or not _meet(graph, node_id):
            continue
        apart = spreads.before(node_id, "item")
        if apart is not None and not on_the_way(graph, node_id).obstacle:
            return node_id, apart.why
    return None


def _meet(graph: Graph, node_id: str) -> bool:
    """Whether an execution may have rows at all connected ports of a node; `extents` tells where none can."""
    ports: dict[str, set[str]] = {}
    for edge in graph.into(node_id):
        ports.setdefault(edge.target_port, set()).update(triggers(graph, edge.source))
    return len(ports) < 2 or bool(set.intersection(*ports.values()))


def _put_before(graph: Graph, node_id: str, why: str) -> Graph:
    node = graph.nodes[node_id]
    wires = _wires(graph, node_id)
    ports, bounds = tuple(wires), node.node.gathering() if isinstance(node.node, Merge) else {}
    made = {
        ROWS: GatherSend(ports=ports, why=f"node {node_id!r} needs all rows of an execution, but {why}"),
        GATHER: Gather(ports=ports, sides=tuple(e.target_port for e in wires.values()), **bounds),
    }
    nodes = dict(graph.nodes)
    for name, kind in made.items():
        put = GraphNode(
            id=f"{node_id}.{name}",
            kind=kind.spec.kind,
            node=kind,
            raw=RawParams(place=node.place),
            errors=put_in(node.errors),
            inside=node.inside,
        )
        nodes[put.id] = put
    send, keep = f"{node_id}.{ROWS}", f"{node_id}.{GATHER}"
    edges = [e for e in graph.edges if e.target != node_id]
    edges += [replace(e, target=send, target_port=port) for port, e in wires.items()]
    edges.append(Edge(source=send, port="out", target=keep, target_port="in", place=node.place))
    edges += [replace(e, source=keep, port=port) for port, e in wires.items()]
    return replace(graph, nodes=nodes, edges=tuple(edges))


def _wires(graph: Graph, node_id: str) -> dict[str, Edge]:
    """Connections into a node by ports of their own, so that rows of one place keep the order of their connections."""
    found: dict[str, Edge] = {}
    for port in graph.nodes[node_id].node.input_ports():
        own = [e for e in graph.into(node_id) if e.target_port == port.name]
        found |= {port.name if len(own) == 1 else f"{port.name}_{i}": e for i, e in enumerate(own)}
    return found


@dataclass(frozen=True, slots=True)
class Way:
    """Nodes whose rows can come to another under the executions that they have, and the first of them that keeps rows
    of which nobody knows how long; "" where there is none.
    """

    nodes: frozenset[str]
    obstacle: str = ""


def on_the_way(graph: Graph, node_id: str) -> Way:
    """The way to a node. It begins where executions do, or at a node that gives all that comes to it out of its state,
    where each execution is one row there.
    """
    way = _back(graph, node_id)
    odd = [n for n in graph.order if n in way and not _counted(graph, n)]
    if not odd:
        return Way(way)
    last = odd[-1]
    behind = _back(graph, node_id, begin=last)
    only = not any(graph.nodes[n].is_trigger for n in behind) and not any(n in behind for n in odd[:-1])
    return Way(behind) if only and not several_rows(graph, last) else Way(way, last)


def _back(graph: Graph, node_id: str, *, begin: str = "") -> frozenset[str]:
    """What is told to a node about its rows is none of them. Nothing before `begin`, nor itself."""
    found: set[str] = set()
    front = [node_id]
    while front:
        here = front.pop()
        aside = {p.name for p in graph.nodes[here].node.input_ports() if p.aside}
        for edge in graph.into(here):
            begins = edge.source == begin or graph.nodes[edge.source].node.begins_executions(edge.port)
            if edge.source not in found and edge.target_port not in aside and not begins:
                found.add(edge.source)
                front.append(edge.source)
        come_back = {n for n, loop in graph.returning.items() if loop == here} - found
        found |= come_back
        front += come_back
    return frozenset(found)


def _counted(graph: Graph, node_id: str) -> bool:
    """Whether it is known of every row at a node whether it is still there."""
    node = graph.nodes[node_id].node
    travels = node_id in graph.across and not node.stores("item")  # round and round, on a topic
    return travels or node.held_ports() is not None or not node.scatters_executions()


def feeds(graph: Graph, groups: Groups) -> Mapping[str, tuple[FeedPlan, ...]]:
    """By stage: what it tells gathers. `topic` is left out."""
    found: dict[str, list[FeedPlan]] = {group.id: [] for group in groups.stages}
    for send in (n for n in graph.order if isinstance(graph.nodes[n].node, GatherSend)):
        way = on_the_way(graph, send).nodes
        moved = {n for n in way if graph.nodes[n].repartitions and groups.reader_of(n) is not None}
        for group in groups.stages:
            plan = FeedPlan(
                node=send,
                topic="",
                sends=send in group.nodes,
                received=tuple(n for n in group.inputs if n in moved and not group.source),
                sent=tuple(n for n in group.nodes if n in moved),
                holds=tuple(_held(graph, n) for n in group.nodes if n in way and _holds(graph, n)),
                parks=tuple(n for n in group.nodes if n in way and graph.nodes[n].errors.retry.puts_aside),
            )
            if plan.sends or plan.received or plan.sent or plan.holds or plan.parks:
                found[group.id].append(plan)
    return {stage: tuple(plans) for stage, plans in found.items()}


def _holds(graph: Graph, node_id: str) -> bool:
    return graph.nodes[node_id].node.held_ports() is not None


def _held(graph: Graph, node_id: str) -> HoldPlan:
    ports = graph.nodes[node_id].node.held_ports()
    assert ports is not None
    return HoldPlan(node=node_id, inputs=ports[0], outputs=ports[1])
