"""Which ports a connection joins: those that were written, else the only ones there can be meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamflow.sdk.node import Node
from streamflow.sdk.params import nearest, spell, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.findings import Findings
from streamflow.workflow.model import ERROR_PORT, Connection, WorkflowDocument


@dataclass(slots=True)
class Wiring:
    """Connections with their ports, and what was found on the way.

    `meant`: (source, target) of all connections, also of faulty ones as far as it is plain what they mean, so that one
    misspelt name does not make a node unreachable too. `certain` is false where it is not plain. `missed`: nodes that a
    faulty connection was meant to feed.
    """

    connections: list[Connection] = field(default_factory=list)
    meant: set[tuple[str, str]] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    certain: bool = True
    findings: Findings = field(default_factory=Findings)


def resolve(document: WorkflowDocument, nodes: Mapping[str, Node]) -> tuple[tuple[Connection, ...], list[Diagnostic]]:
    """The document's connections with both ports filled in; those that are wrong are left out.

    Where a node could not be built its end of a connection stays as written. Fallbacks are not among them.
    """
    wiring = wire(document, nodes)
    return tuple(wiring.connections), wiring.findings


def wire(document: WorkflowDocument, nodes: Mapping[str, Node]) -> Wiring:
    made = Wiring()
    known = dict.fromkeys(entry.id for entry in document.nodes)  # in their order, which messages show
    seen: dict[tuple[object, ...], Connection] = {}
    faulty_ends: set[Place] = set()  # of `a -> b.port -> c`: the second arrow begins where the first one was wrong
    for connection in document.connections:
        ends = (
            _node(connection.source, connection, "place", known, made),
            _node(connection.target, connection, "target_place", known, made),
        )
        if ends[0] and ends[1]:
            made.meant.add((ends[0], ends[1]))
        else:
            made.certain = False
        if ends != (connection.source, connection.target):
            made.missed.add(ends[1])
            continue
        source_findings = Findings()
        source_port = _source_port(connection, nodes.get(connection.source), source_findings)
        if connection.place not in faulty_ends or not connection.place.line:
            made.findings += source_findings
        target_port = _target_port(connection, nodes.get(connection.target), made.findings)
        if target_port is None:
            faulty_ends.add(connection.target_place)
        if source_port is None or target_port is None:
            made.missed.add(connection.target)
            continue
        full = replace(connection, source_port=source_port, target_port=target_port)
        if _leads_back(nodes.get(connection.target), target_port):
            full = replace(full, type="loop")
        same = (full.source, source_port, full.target, target_port, full.condition)
        if (first := seen.setdefault(same, full)) is not full:
            on = f" on line {first.place.line}" if first.place.line else ""
            made.findings.report(
                connection.place, "SF141", f"{spell(str(connection))} is connected already{on}.", "Remove one of them."
            )
            continue
        made.connections.append(full)
    return made


def output_names(node: Node) -> list[str]:
    """Names of all output ports, `error` included."""
    return [p.name for p in node.output_ports()] + ([ERROR_PORT] if node.spec.can_fail else [])


def _node(name: str, connection: Connection, at: str, known: Collection[str], made: Wiring) -> str:
    """The node that an end of a connection means; "" if that is not plain."""
    if name in known:
        return name
    made.findings.report(getattr(connection, at), "SF131", f"there is no node {spell(name)}.", suggestion(name, known))
    return nearest(name, known)


def _source_port(connection: Connection, node: Node | None, findings: Findings) -> str | None:
    port = connection.source_port
    if node is None:
        return port
    names = [p.name for p in node.output_ports()]
    who = f"node {spell(connection.source)} ({node.spec.kind})"
    place = connection.place
    if (port == ERROR_PORT or connection.type == "error") and ERROR_PORT not in names:
        if not node.spec.can_fail:
            findings.report(place, "SF139", f"{who} cannot fail: it has no error port.", "Remove the connection.")
            return None
        if connection.type == "error" and port not in ("", ERROR_PORT):
            findings.report(place, "SF143", f"an error connection leaves by the port 'error', not by {spell(port)}.")
            return None
        return ERROR_PORT
    if port in names:
        return port
    if port:
        findings.report(
            place.moved(len(connection.source) + 1),
            "SF132",
            f"{who} has no output port {spell(port)}.",
            suggestion(port, output_names(node)) or "It ends here: nothing can be connected behind it.",
        )
        return None
    if not names:
        findings.report(place, "SF132", f"{who} has no output port.", "Nothing can be connected behind it.")
        return None
    if connection.index is not None:
        if connection.index < len(names):
            return names[connection.index]
        findings.report(
            place, "SF132", f"{who} has no output port {connection.index}.", f"It has {len(names)}: {', '.join(names)}."
        )
        return None
    if (usual := _usual("out", names)) is None:
        findings.report(
            place, "SF133", f"{who} has {len(names)} output ports: say which.", _one_of(connection.source, names)
        )
    return usual


def _target_port(connection: Connection, node: Node | None, findings: Findings) -> str | None:
    port = connection.target_port
    if node is None:
        return port
    back = [p.name for p in node.input_ports() if p.loop]
    names = [p.name for p in node.input_ports() if connection.type != "loop" or p.loop or not back]
    who = f"node {spell(connection.target)} ({node.spec.kind})"
    place = connection.target_place
    if not names:
        findings.report(place, "SF134", f"{who} is a trigger: it has no input.", "Connect from it, not to it.")
        return None
    if port in names:
        return port
    if port:
        mend = suggestion(port, names)
        if port in output_names(node):
            mend = (
                f"{port!r} is an output port: end the chain at {connection.target!r} and begin another one with "
                f"'{connection.target}.{port} ->'."
            )
        findings.report(
            place.moved(len(connection.target) + 1), "SF132", f"{who} has no input port {spell(port)}.", mend
        )
        return None
    if (usual := _usual("in", names)) is None:
        findings.report(
            place, "SF133", f"{who} has {len(names)} input ports: say which.", _one_of(connection.target, names)
        )
    return usual


def _leads_back(node: Node | None, port: str) -> bool:
    """Whether what enters by a port comes back to a loop: then the connection is one, however it was written."""
    if node is None:  # faulty, and reported: the usual name tells
        return port == "back"
    return any(p.name == port and p.loop for p in node.input_ports())


def _usual(usual: str, names: Sequence[str]) -> str | None:
    """The port that is meant where none is named."""
    return usual if usual in names else names[0] if len(names) == 1 else None


def _one_of(node: str, names: Sequence[str]) -> str:
    return f"Write one of {', '.join(f'{node}.{name}' for name in names[:12])}."
