"""First pass: the document becomes a graph of built nodes.

What only shortens writing is spelt out here, so that no later pass knows of it: a disabled node is a `pass` node, a
condition on a connection is a `filter` node, a fallback is a wire from the error port, a compensation is wired to the
nodes behind its step (`compensate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from streamflow.compiler.checkpoints import with_checkpoints
from streamflow.compiler.codes import DISABLED_PORT, NO_LOOP, NOT_INSTALLED, RECOVER
from streamflow.compiler.compensate import Compensation, compensate
from streamflow.compiler.graph import DONE_PORT, ERROR_PORT, Edge, Graph, GraphNode
from streamflow.compiler.notify import notifying
from streamflow.sdk.node import Node, Repeats
from streamflow.sdk.params import RawParams, build, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.failures import ONWARD_PORT, put_in
from streamflow.workflow import WorkflowDocument, validate
from streamflow.workflow.model import Connection
from streamflow.workflow.ports import resolve as resolve_ports


def resolve(document: WorkflowDocument, registry: NodeRegistry) -> tuple[Graph, list[Diagnostic]]:
    """Build and connect all nodes. Where something is wrong it holds what is sound and marks what hangs on it."""
    nodes, findings = validate(document, registry)
    connections, _ = resolve_ports(document, nodes)  # its findings are among those of `validate`
    made = _Resolver(document, registry, nodes, list(findings))
    for connection in connections:
        made.connect(connection)
    made.fallbacks()
    made.checkpoints()
    made.compensations()
    made.passing()
    made.notifying()
    made.unconnected()
    return made.graph(), made.findings


def filter_id(edge: Edge) -> str:
    """Id of the filter that stands for a connection's condition: made of ids and ports, so it never moves."""
    target = edge.target if edge.target_port == "in" else f"{edge.target}.{edge.target_port}"
    return f"{edge.start}~{target}"


@dataclass
class _Resolver:
    document: WorkflowDocument
    registry: NodeRegistry
    built: Mapping[str, Node]
    findings: list[Diagnostic]

    def __post_init__(self) -> None:
        self.nodes: dict[str, GraphNode] = {}
        self.edges: list[Edge] = []
        self.loops: list[Edge] = []  # those that lead back
        self.broken: set[str] = set()
        self._off = {e.id for e in self.document.nodes if e.disabled}
        self._passed: dict[str, str] = {}  # disabled node -> the input port that goes through
        self._silenced: set[tuple[str, str]] = set()  # ports that disabled nodes would have fed
        for entry in self.document.nodes:
            node = self.built.get(entry.id)
            if node is None or entry.id in self.nodes:
                continue
            if entry.id in self._off:
                if node.input_ports() and node.output_ports():
                    self._add(entry.id, "pass", RawParams(place=entry.place))
                continue
            raw = replace(entry.params, place=entry.place)
            policy = self.document.error_policy(entry)
            if policy.fallback:
                policy = replace(policy, on_error="error_port")
            self.nodes[entry.id] = GraphNode(
                id=entry.id, kind=entry.type, node=node, raw=raw, errors=policy,
                says_retry=entry.retry is not None,
                retry_when=self.document.retry_condition(entry), policy_place=entry.policy_place,
            )  # fmt: skip

    def connect(self, connection: Connection) -> None:
        source, target = connection.source, connection.target
        if target not in self.nodes:
            return
        if connection.type == "loop":
            if target in self._off:
                return  # it sends nothing round
            if not isinstance(self.nodes[target].node, Repeats):
                kind = self.nodes[target].kind
                self._report(
                    connection.target_place,
                    NO_LOOP,
                    f"connection {connection} is a loop, but node {target!r} ({kind}) does not send rows round.",
                    mend="Lead it back to a node of kind loop.",
                )
                self.broken.add(target)
                return
        if source not in self.nodes:
            # Nothing comes from a trigger that is off; anything else missing was reported: what hangs on it is unknown.
            if source in self._off:
                self._silenced.add((target, connection.target_port))
            else:
                self.broken.add(target)
            return
        ends = self._source_port(connection), self._target_port(connection)
        if "" in ends:
            self.broken.add(target)
        elif ends[0] is None:
            self._silenced.add((target, str(ends[1])))
        elif ends[1] is not None:
            edge = Edge(
                source=source, port=str(ends[0]), target=target, target_port=str(ends[1]), place=connection.place
            )
            self._wire(edge, connection)

    def fallbacks(self) -> None:
        """A fallback is a wire from the error port to the first input of the node that takes over."""
        for entry in self.document.nodes:
            takes_over = self.nodes.get(entry.fallback)
            if entry.id not in self.nodes or entry.id in self._off or takes_over is None:
                continue
            ports = takes_over.node.input_ports()
            if ports:
                place = entry.policy_place if entry.policy_place.line else entry.place
                edge = Edge(
                    source=entry.id, port=ERROR_PORT, target=takes_over.id, target_port=ports[0].name, place=place
                )
                if edge not in self.edges:
                    self.edges.append(edge)

    def checkpoints(self) -> None:
        """What records items before the nodes that the policies name."""
        graph = Graph(nodes=self.nodes, edges=tuple(self.edges), loops=tuple(self.loops))
        whole, found = with_checkpoints(graph, self.document.policies.checkpoints, self.document.place)
        self.findings += found
        recover = self.document.policies.recover
        for name in recover.nodes if recover is not None else ():
            if name not in self.nodes:
                message = f"policies.recover: there is no node {name!r}, in which items could fail."
                mend = suggestion(name, self.nodes)
                self.findings.append(Diagnostic(place=self.document.place, code=RECOVER, message=message, mend=mend))
        self.nodes, self.edges = dict(whole.nodes), list(whole.edges)

    def compensations(self) -> None:
        """What undoes steps behind which an item fails."""
        wanted = {
            entry.id: Compensation(entry.compensate, entry.compensate_when)
            for entry in self.document.nodes
            if entry.compensate in self.nodes and entry.id not in self._off and entry.compensate != entry.id
        }
        graph, recovers = Graph(nodes=self.nodes, edges=tuple(self.edges)), self.document.policies.recovers
        whole, found = compensate(graph, wanted, self.registry, by_command=recovers)
        self.findings += found
        self.nodes, self.edges = dict(whole.nodes), list(whole.edges)

    def passing(self) -> None:
        """Where failed items pass on, what flows from `out` also flows from the port that they leave by."""
        for edges in (self.edges, self.loops):
            for edge in list(edges):
                if self.nodes[edge.source].errors.on_error == "pass" and edge.port == "out":
                    edges.append(replace(edge, port=ONWARD_PORT))

    def notifying(self) -> None:
        """Who is told of dead letters."""
        added = []
        for node_id, (kind, raw, errors) in notifying(self.document).items():
            if not self._add(node_id, kind, raw):
                return
            self.nodes[node_id] = replace(self.nodes[node_id], errors=errors)
            added.append(node_id)
        for source, target in pairwise(added):
            place = self.nodes[target].place
            self.edges.append(Edge(source=source, port="out", target=target, target_port="in", place=place))

    def unconnected(self) -> None:
        """Mark nodes with a port that nothing sound flows into; where that is because of a disabled node, say so."""
        live = self._live()
        for node in self.nodes.values():
            for port in node.node.input_ports():
                feeding = [e for e in self.edges if (e.target, e.target_port) == (node.id, port.name)]
                if port.optional or port.loop or any(e.source in live for e in feeding):
                    continue
                self.broken.add(node.id)
                silenced = feeding or (node.id, port.name) in self._silenced
                if silenced and node.id in live:
                    self.findings.append(
                        Diagnostic(
                            place=node.place,
                            code=DISABLED_PORT,
                            message=f"nothing can reach {node.id}.{port.name}: what feeds it is disabled.",
                            mend=f"Disable {node.id!r} too, or enable what feeds it.",
                        )
                    )

    def _live(self) -> set[str]:
        """Nodes that rows of an enabled trigger can reach."""
        whole = Graph(nodes=self.nodes, edges=tuple(self.edges))
        live = {n for n, g in self.nodes.items() if not g.node.input_ports()}
        return live | {d for n in list(live) for d in whole.descendants(n)}

    def graph(self) -> Graph:
        """The graph without what hung on disabled triggers only. Whatever else is unreachable was reported."""
        live = self._live() if self._off else set(self.nodes)
        return Graph(
            nodes={n: g for n, g in self.nodes.items() if n in live},
            edges=tuple(e for e in self.edges if e.source in live and e.target in live),
            broken=frozenset(self.broken & live),
            loops=tuple(e for e in self.loops if e.source in live and e.target in live),
        )

    def _wire(self, edge: Edge, connection: Connection) -> None:
        if connection.condition is None:
            (self.loops if connection.type == "loop" else self.edges).append(edge)
            return
        condition = connection.condition
        raw = RawParams(values={"when": condition}, places={("when",): condition.place}, place=connection.place)
        between = self._add(filter_id(edge), "filter", raw, errors_of=edge.source)
        if between:
            self.edges.append(replace(edge, target=between, target_port="in"))
            back = replace(edge, source=between, port="out")
            (self.loops if connection.type == "loop" else self.edges).append(back)

    def _source_port(self, connection: Connection) -> str | None:
        """The port rows leave by; "" where it is not known, None where a disabled node has nothing to give."""
        if connection.source not in self._off:
            return connection.source_port
        node = self.built[connection.source]
        first = DONE_PORT if isinstance(node, Repeats) else node.output_ports()[0].name
        if connection.source_port in (first, ""):
            return "out"
        self._report(
            connection.place,
            DISABLED_PORT,
            f"node {connection.source!r} is disabled: its items pass to {first!r}, nothing leaves by "
            f"{connection.source_port!r}.",
            severity="warning",
        )
        return None

    def _target_port(self, connection: Connection) -> str | None:
        target, port = connection.target, connection.target_port
        if target not in self._off or not port:
            return port
        if self._passed.setdefault(target, port) == port:
            return "in"
        self._report(
            connection.target_place,
            DISABLED_PORT,
            f"node {target!r} is disabled and passes on what enters by {self._passed[target]!r}; {port!r} ends.",
            severity="warning",
        )
        return None

    def _add(self, node_id: str, kind: str, raw: RawParams, *, errors_of: str = "") -> str:
        """Add a node that nobody wrote. Its errors follow the workflow's policy."""
        node_class = self.registry.get(kind)
        if node_class is None:
            self._report(raw.place, NOT_INSTALLED, f"node kind {kind!r} is needed here and not installed.")
            return ""
        node, found = build(node_class, raw)
        self.findings.extend(found)
        if node is None:
            return ""
        errors = self.nodes[errors_of].errors if errors_of else None
        policy = self.document.policies
        made = GraphNode(id=node_id, kind=kind, node=node, raw=raw)
        if errors is None or errors.on_error in ("error_port", "pass"):
            on_error = "dead_letter" if policy.on_error == "error_port" else policy.on_error
            errors = replace(made.errors, on_error=on_error)
        self.nodes[node_id] = replace(made, errors=put_in(errors))
        return node_id

    def _report(self, place: Place, code: str, message: str, *, mend: str = "", severity: str = "error") -> None:
        self.findings.append(
            Diagnostic(
                place=place,
                code=code,
                message=message,
                mend=mend,
                severity="warning" if severity == "warning" else "error",
            )
        )
