"""Checks of the graph's shape: cycles, what no trigger reaches, inputs without a wire, outputs that nobody takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from streamflow.sdk.node import Node
from streamflow.sdk.params import spell
from streamflow.workflow.findings import Findings
from streamflow.workflow.model import NodeEntry, WorkflowDocument
from streamflow.workflow.ports import Wiring, output_names

# Kinds of these categories are for what they produce; others may be there for what they do.
_PRODUCING = frozenset(("trigger", "transform", "condition", "split", "merge", "keyed"))


def check_graph(document: WorkflowDocument, nodes: Mapping[str, Node], wiring: Wiring, findings: Findings) -> None:
    """Report what is wrong with the shape. What hangs on a fault that was reported already is not reported again."""
    fallbacks = _fallbacks(document, nodes)
    sound = {(c.source, c.target) for c in wiring.connections if c.type != "loop"}
    loops = _loops(document, wiring) - sound
    cyclic = _check_cycles(document, sound | fallbacks, findings)
    flow = (wiring.meant - loops) | fallbacks
    if document.incomplete or not wiring.certain:
        return
    built_all = all(entry.id in nodes for entry in document.nodes)
    triggers = [entry for entry in document.nodes if entry.id in nodes and not nodes[entry.id].input_ports()]
    if not triggers and built_all:
        findings.report(
            document.nodes[0].place,
            "SF138",
            "the workflow has no trigger: nothing starts it.",
            "Add one, such as event.",
        )
        return
    into: dict[str, set[str]] = defaultdict(set)
    for source, target in flow:
        into[target].add(source)
    for entry in document.nodes:
        node = nodes.get(entry.id)
        if node is None or entry.id in cyclic:
            continue
        if not into[entry.id] and node.input_ports():
            findings.report(
                entry.place,
                "SF136",
                f"nothing is connected to node {spell(entry.id)}: no trigger reaches it.",
                f"Connect it, such as `{_somebody(document, entry)} -> {entry.id}`, or remove it.",
            )
            continue
        _check_inputs(document, entry, node, wiring, findings)
        _check_outputs(entry, node, flow, findings, {source for source, _ in loops})


def _loops(document: WorkflowDocument, wiring: Wiring) -> set[tuple[str, str]]:
    """Ends of connections that lead back, by what was written or by the port that they enter."""
    return {(c.source, c.target) for c in (*document.connections, *wiring.connections) if c.type == "loop"}


def _fallbacks(document: WorkflowDocument, nodes: Mapping[str, Node]) -> set[tuple[str, str]]:
    """Nodes that take items of others without a connection: fallbacks and compensations."""
    takes = {entry.id for entry in document.nodes if entry.id not in nodes or nodes[entry.id].input_ports()}
    given = [(e.id, other) for e in document.nodes for other in (e.fallback, e.compensate)]
    return {(node, other) for node, other in given if other in takes and other != node}


def _somebody(document: WorkflowDocument, entry: NodeEntry) -> str:
    """The node written before this one: the likeliest to have been meant as its source."""
    ids = [e.id for e in document.nodes]
    at = ids.index(entry.id)
    return ids[at - 1] if at else ids[-1]


def _check_inputs(document: WorkflowDocument, entry: NodeEntry, node: Node, wiring: Wiring, findings: Findings) -> None:
    """Every input port has a wire. Only where all its wires are sound: a faulty one may be the missing one."""
    if entry.id in wiring.missed:
        return
    wires = [c for c in wiring.connections if c.target == entry.id]
    ports = [p.name for p in node.input_ports() if not p.optional]
    fed = {c.target_port for c in wires}
    if any(entry.id in (e.fallback, e.compensate) for e in document.nodes):
        fed.update(ports[:1])
    for port in ports:
        if port not in fed and not entry.disabled:
            findings.report(
                entry.place,
                "SF137",
                f"input port {spell(port)} of node {spell(entry.id)} is not connected.",
                f"Write `… -> {entry.id}.{port}`.",
            )


def _check_outputs(
    entry: NodeEntry, node: Node, flow: Iterable[tuple[str, str]], findings: Findings, leading_back: set[str]
) -> None:
    if entry.disabled or node.spec.category not in _PRODUCING or not node.output_ports():
        return
    if not any(source == entry.id for source, _ in flow) and entry.id not in leading_back:
        ports = ", ".join(f"{entry.id}.{name}" for name in output_names(node) if name != "error")
        findings.report(
            entry.place,
            "SF142",
            f"nothing takes what node {spell(entry.id)} produces.",
            f"Connect {ports} to something, or remove the node.",
            severity="warning",
        )


def _check_cycles(document: WorkflowDocument, flow: set[tuple[str, str]], findings: Findings) -> set[str]:
    """Report one cycle of each knot; returns the nodes of all that were reported."""
    order = [entry.id for entry in document.nodes]
    after: dict[str, list[str]] = {
        node: [other for other in order if (node, other) in flow] for node in {source for source, _ in flow}
    }
    left = set(order)
    cyclic: set[str] = set()
    while True:
        left = _knotted(left, after)
        first = next((node for node in order if node in left), None)
        if first is None:
            return cyclic
        path = [first]
        while (following := next(n for n in after[path[-1]] if n in left)) not in path:
            path.append(following)
        cycle = path[path.index(following) :]
        shown = " -> ".join([*cycle[:20], *(["…"] if len(cycle) > 20 else []), following])
        place = next(
            (c.place for c in document.connections if (c.source, c.target) == (cycle[-1], following)),
            next(e for e in document.nodes if e.id == cycle[-1]).policy_place,
        )
        findings.report(place, "SF135", f"the connections make a cycle: {shown}.", "Remove one of them.")
        cyclic |= set(cycle)
        left -= set(cycle)


def _knotted(left: set[str], after: Mapping[str, list[str]]) -> set[str]:
    """The nodes that remain when those without successors and those without predecessors are taken away in turn."""
    left = set(left)
    while True:
        ends = {node for node in left if not any(n in left for n in after.get(node, ()))}
        entered = {n for node in left - ends for n in after.get(node, ())}
        gone = ends | {node for node in left if node not in entered}
        if not gone:
            return left
        left -= gone
