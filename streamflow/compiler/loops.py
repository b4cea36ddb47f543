"""How loops go round: within a step, or across topics where something in the body keeps rows, moves them, or takes them
by key. Rows enter a body by its loop only.

A loop across topics gets a node `<loop>.back` behind each way that leads back: it hands rows to a topic, which the
stage of the loop reads as one more input (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from streamflow.compiler.codes import LOOP_BODY
from streamflow.compiler.fuse import Groups
from streamflow.compiler.graph import BODY_PORT, Edge, Graph, GraphNode, TypedGraph
from streamflow.model.policies import Extent
from streamflow.nodes.loop_back import LoopBack
from streamflow.sdk.node import ReadsSource, Repartitions, Repeats
from streamflow.sdk.places import Diagnostic, Place
from streamflow.topology.failures import ONWARD_PORT, put_in


def check_loops(graph: Graph) -> tuple[Graph, list[Diagnostic]]:
    """Report bodies that cannot be run, and mark what hangs on these loops; lead the others through topics where they
    have to go.
    """
    findings: list[Diagnostic] = []
    broken = set(graph.broken)
    across = _across(graph)
    for node in graph.nodes.values():
        if isinstance(node.node, Repeats) and node.id not in graph.broken:
            found, ended = list(_check(graph, node)), _ended_by(graph, node.id) if node.id in across else None
            if found or ended:
                findings += found or _overtaken(graph, node, *ended)  # type: ignore[misc]
                broken.add(node.id)
    return _through_topics(replace(graph, broken=frozenset(broken)), across - broken), findings


def check_ends(typed: TypedGraph, groups: Groups) -> list[Diagnostic]:
    """Report executions that end in a stage of a loop across topics, though they do not get to the loop."""
    graph, findings = typed.graph, list[Diagnostic]()
    for loop in sorted(graph.across):
        going = {loop, *graph.bodies[loop]}
        groups_of = (g for g in groups.stages if going & set(g.nodes) and not g.source)
        ended = [i for g in groups_of for i in g.inputs if typed.types[i].extent != "item"]
        if ended:
            findings.append(_ends_first(graph.nodes[loop], loop, ended[0], typed.types[ended[0]].extent))
    return findings


def _ended_by(graph: Graph, loop: str) -> tuple[str, Extent] | None:
    """A trigger whose executions span steps and get to a loop: their ends would overtake rows that still go round."""
    for trigger in (t for t in graph.order if t in graph.ancestors(loop)):
        kind = graph.nodes[trigger].node
        if isinstance(kind, ReadsSource) and kind.trigger_extent() != "item":
            return trigger, kind.trigger_extent()
    return None


def _overtaken(graph: Graph, loop: GraphNode, trigger: str, extent: Extent) -> list[Diagnostic]:
    """Reported where it begins that a loop goes round across topics: it says so, or nodes of its body make it."""
    if isinstance(loop.node, Repeats) and loop.node.crosses_topics():
        return [_ends_first(loop, loop.id, trigger, extent)]
    body = (graph.nodes[n] for n in graph.order if n in graph.bodies[loop.id] and graph.around(n)[0] == loop.id)
    return [
        _finding(
            node.place,
            f"node {node.written_id!r} ({node.kind}) lets loop {loop.id!r} go round across topics, and executions "
            f"(extent {extent}) of {trigger!r} would end before rows that still go round.",
            f"Put it before {loop.id!r}, or behind {loop.id}.done; or let each item be an execution of its own, as "
            "those of a topic (event).",
        )
        for node in body
        if _needs_topics(graph, node)
    ]


def _ends_first(loop: GraphNode, name: str, trigger: str, extent: Extent) -> Diagnostic:
    return _finding(
        loop.place,
        f"loop {name!r} goes round across topics, and executions (extent {extent}) of {trigger!r} would end before "
        "rows that still go round.",
        "Let each item be an execution of its own, as those of a topic (event).",
    )


def _across(graph: Graph) -> frozenset[str]:
    """Loops that say so themselves, or whose bodies hold what needs it; with those around them."""
    found = set()
    for loop, body in graph.bodies.items():
        kind = graph.nodes[loop].node
        said = isinstance(kind, Repeats) and kind.crosses_topics()
        if said or any(_needs_topics(graph, graph.nodes[n]) for n in body):
            found.add(loop)
    return frozenset(loop for loop, body in graph.bodies.items() if loop in found or body & found)


def _through_topics(graph: Graph, across: Collection[str]) -> Graph:
    """The graph with a node behind each way that leads back to one of these loops."""
    nodes, edges, loops = dict(graph.nodes), list(graph.edges), list[Edge]()
    for edge in graph.loops:
        loop = nodes[edge.target]
        if edge.target not in across:
            loops.append(edge)
            continue
        assert isinstance(loop.node, Repeats)
        ways = {_way(e) for e in graph.back_to(edge.target)}
        name = f"{loop.id}.back" if len(ways) == 1 else f"{loop.id}.back.{'.'.join(_way(edge))}".replace("~", "-")
        edges.append(replace(edge, target=name, target_port="in"))
        if name in nodes:
            continue
        made = LoopBack(loop=loop.id)
        nodes[loop.id] = replace(loop, node=loop.node.across())
        nodes[name] = replace(
            loop, id=name, kind=made.spec.kind, node=made, errors=put_in(loop.errors), says_retry=False, retry_when=None
        )
        loops.append(replace(edge, source=name, port="out"))
    return replace(graph, nodes=nodes, edges=tuple(edges), loops=tuple(loops))


def _way(edge: Edge) -> tuple[str, str]:
    """By what rows come back; failed items that pass on go the way of the others."""
    return edge.source, "out" if edge.port == ONWARD_PORT else edge.port


def _check(graph: Graph, loop: GraphNode) -> Iterator[Diagnostic]:
    if loop.id not in graph.bodies:
        return  # that nothing leads back was reported, unless what should is disabled
    body = graph.bodies[loop.id]
    for edge in graph.back_to(loop.id):
        if edge.source not in body:
            yield _finding(
                edge.place,
                f"{edge.source!r} leads back to loop {loop.id!r}, but nothing that leaves by {loop.id}.{BODY_PORT} "
                "gets there.",
                f"Connect `{loop.id}.{BODY_PORT}` to the first node of the body.",
            )
    for other in graph.bodies:
        if other in body and loop.id in graph.bodies[other] and loop.id < other:
            yield _finding(
                loop.place,
                f"loops {loop.id!r} and {other!r} are each in the body of the other.",
                f"Let {other}.done lead back to {loop.id!r}, so that one is inside the other.",
            )
            return
    for node_id in (n for n in graph.order if n in body):
        node = graph.nodes[node_id]
        if (why := _cannot(node)) is not None:
            yield _finding(
                node.place,
                f"node {node.written_id!r} ({node.kind}) {why}: not within a loop (it is in the body of {loop.id!r}).",
                f"Put it before {loop.id!r}, or behind {loop.id}.done.",
            )
        for edge in graph.into(node_id):
            if edge.source not in body and (edge.source, edge.port) != (loop.id, BODY_PORT):
                if edge.target_port in _told(node):
                    continue
                yield _finding(
                    edge.place,
                    f"rows of {edge.start} would enter the body of loop {loop.id!r} at {node_id!r}, in the middle of a "
                    "round.",
                    f"Connect {edge.source!r} to {loop.id!r}, or behind {loop.id}.done.",
                )


def _told(node: GraphNode) -> Collection[str]:
    """Input ports by which a node is told something: what comes there becomes no item."""
    return {port.name for port in node.node.input_ports() if port.aside}


def _cannot(node: GraphNode) -> str | None:
    """What keeps a node from having a part in rounds: what leaves it would not be what the loop sent."""
    kind = node.node
    if isinstance(kind, Repeats) and kind.acts_on_executions():
        return "goes through the items of a whole execution"
    if kind.acts_on_executions():
        return "acts on whole executions"
    if kind.parts() is not None and not kind.hears_signals():
        return "makes items of what it keeps"
    if kind.makes_new_items():
        return "makes new items of those that it takes"
    return None


def _needs_topics(graph: Graph, node: GraphNode) -> bool:
    """Whether a node cannot be run several times a step on some of its rows."""
    kind = node.node
    return (
        isinstance(kind, Repartitions)
        or (any(port.keyed for port in kind.input_ports()) and node.id not in graph.references)
        or kind.parts() is not None
        or bool(node.stores("item") or node.stores("run"))
    )


def _finding(place: Place, message: str, mend: str) -> Diagnostic:
    return Diagnostic(place=place, code=LOOP_BODY, message=message, mend=mend)
