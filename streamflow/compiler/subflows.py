"""Sub-flows: a node that names another workflow file is replaced by the nodes of that file.

    orders -> priced -> out          orders -> priced.given -> priced.total -> priced.result -> priced -> out

Ids of the nodes inside have the id of the node before them, and a dot, which no id that a user writes holds: so topics,
stores and dead letters tell where they belong, and collide with nothing. The node that keeps the id gives what `return`
gives. Nothing behind this pass knows of sub-flows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import orjson

from streamflow.compiler.codes import RETRIES, SUB_FLOW
from streamflow.compiler.elsewhere import brought
from streamflow.compiler.graph import ERROR_PORT, Edge, Graph, GraphNode
from streamflow.compiler.renaming import within
from streamflow.compiler.resolve import resolve
from streamflow.nodes.merge import Merge
from streamflow.nodes.pass_ import Pass
from streamflow.nodes.set import Set
from streamflow.nodes.sub_flow import Return, SubFlow, SubFlowEntry, SubFlowErrors, SubFlowTrigger
from streamflow.sdk.node import Node
from streamflow.sdk.places import Diagnostic
from streamflow.sdk.registry import NodeRegistry
from streamflow.workflow import WorkflowDocument, load
from streamflow.workflow.beside import MARKER, of_project, project_root
from streamflow.workflow.diagnostics import has_errors
from streamflow.workflow.dump import to_plain
from streamflow.workflow.environments import chosen, vars_in

DEPTH_MAX: Final = 10
_PINNED = "sha256:"


@dataclass(slots=True)
class Included:
    """A graph without sub-flows. `vars`: those of the files, by what their nodes have before their ids."""

    graph: Graph
    findings: list[Diagnostic] = field(default_factory=list)
    vars: dict[str, object] = field(default_factory=dict)
    users: dict[str, GraphNode] = field(default_factory=dict)  # by file: the node that names it


def include(graph: Graph, document: WorkflowDocument, registry: NodeRegistry) -> Included:
    """Replace all sub-flows of a resolved document, and those inside them."""
    top = _Top(Path(document.base_folder or "."), project_root(document.base_folder), document)
    return _include(graph, document, registry, (document.source,) if document.source else (), top)


def with_users(findings: list[Diagnostic], users: Mapping[str, GraphNode]) -> list[Diagnostic]:
    """Findings in files of sub-flows tell also who names the file."""
    told: list[Diagnostic] = []
    for found in findings:
        user = users.get(found.place.file)
        if user is None:
            told.append(found)
            continue
        used = f"(In the sub-flow of node {user.id!r}, {user.place}.)"
        told.append(replace(found, mend=f"{found.mend} {used}".strip()))
    return told


def digest(document: WorkflowDocument) -> str:
    """`sha256:…` of what a document says."""
    plain = orjson.dumps(to_plain(document), option=orjson.OPT_SORT_KEYS, default=str)
    return _PINNED + hashlib.sha256(plain).hexdigest()


@dataclass(frozen=True, slots=True)
class _Top:
    """Of the workflow that is compiled: its folder, its project's, and its document."""

    folder: Path
    root: Path
    document: WorkflowDocument

    @property
    def registry(self) -> str:
        return self.document.registry


def _registry(document: WorkflowDocument) -> str:
    """The schema registry of a document; of a folder, which one it is."""
    named = document.registry
    return named if not named or "://" in named else str((Path(document.base_folder or ".") / named).resolve())


def _include(
    graph: Graph, document: WorkflowDocument, registry: NodeRegistry, chain: tuple[str, ...], top: _Top
) -> Included:
    made = Included(graph)
    for node in graph.nodes.values():
        if isinstance(node.node, SubFlow) and node.says_retry and node.errors.retry.attempts > 1:
            made.findings.append(
                Diagnostic(
                    place=node.policy_place if node.policy_place.line else node.place,
                    code=RETRIES,
                    message=f"node {node.id!r} tries items again, but is a sub-flow: its nodes follow what they say "
                    "themselves.",
                    mend=f"Say `retry` on the nodes in {node.node.workflow!r}, or in its `policies`.",
                    severity="warning",
                )
            )
        if isinstance(node.node, SubFlow) and node.id not in graph.broken:
            inner = _read(node, node.node, document, registry, chain, made, top)
            spliced = None if inner is None else _Splice(made, node, node.node, inner).done()
            if inner is not None and spliced is None:
                made.findings.append(
                    Diagnostic(
                        place=node.place,
                        code=SUB_FLOW,
                        message=f"node {node.id!r}: its error port is connected, but in {node.node.workflow!r} no item "
                        "fails that is not handled there.",
                        mend=f"Remove the connection of {node.id}.error.",
                    )
                )
            made.graph = spliced or replace(made.graph, broken=made.graph.broken | {node.id})
    return made


def _read(
    node: GraphNode,
    flow: SubFlow,
    document: WorkflowDocument,
    registry: NodeRegistry,
    chain: tuple[str, ...],
    made: Included,
    top: _Top,
) -> Included | None:
    """The graph of the file that a node names; None where it cannot be used (then reported)."""

    def refuse(message: str, mend: str = "", param: str = "workflow") -> None:
        made.findings.append(
            Diagnostic(place=node.place_of(param), code=SUB_FLOW, message=f"node {node.id!r}: {message}", mend=mend)
        )

    file = of_project(document.base_folder, flow.workflow, top.root)
    if isinstance(file, str):
        refuse(
            f"{flow.workflow!r}: {file}.",
            f"Give a path from the folder of this file. An empty file `{MARKER}` in a folder above makes that the "
            "project's.",
        )
        return None
    files = [*(Path(c) for c in chain), file]
    if any(earlier.resolve() == file.resolve() for earlier in files[:-1]):
        shown = " -> ".join(f.name for f in files)
        refuse(f"{flow.workflow!r} would be inside itself: {shown}.", "Use a loop for what repeats.")
        return None
    if len(files) > DEPTH_MAX:
        refuse(f"more than {DEPTH_MAX} files are inside each other: {' -> '.join(f.name for f in files)}.")
        return None
    inner, findings = load(file)
    made.users.setdefault(str(file), node)
    made.findings += findings
    if inner is None or has_errors(findings):
        return None
    inner = replace(inner, environment=chosen(document))
    if flow.pin is not None and flow.pin != (found := digest(inner)):
        refuse(
            f"{flow.workflow!r} is not the version that is pinned: it is {found}.",
            f"Set `pin: {found}` if this version is meant.",
            "pin",
        )
        return None
    if inner.registry and _registry(inner) != _registry(top.document):
        refuse(
            f"{flow.workflow!r} has the schema registry {inner.registry!r}, this workflow {top.registry or 'none'!r}.",
            "Give both the same.",
        )
        return None
    graph, found_inside = resolve(inner, registry)
    graph = brought(graph, inner, top.folder, top.registry)
    included = _include(graph, inner, registry, (*chain, str(file)), top)
    made.findings += [*found_inside, *included.findings]
    made.vars[f"{node.id}."] = {**vars_in(inner, chosen(document)), **included.vars}
    for path, user in included.users.items():
        made.users.setdefault(path, user)
    if has_errors(found_inside) or has_errors(included.findings):
        return None
    triggers = [n for n in included.graph.nodes.values() if isinstance(n.node, SubFlowTrigger)]
    if len(triggers) != 1:
        refuse(
            f"{flow.workflow!r} has {len(triggers) or 'no'} node{'s' if len(triggers) > 1 else ''} of kind "
            "sub-flow-trigger, where items would enter.",
            "Give it one.",
        )
        return None
    if flow.run == "each":
        whole = next((n for n in included.graph.nodes.values() if n.node.acts_on_executions()), None)
        if whole is not None:
            refuse(
                f"node {whole.id!r} ({whole.kind}) of {flow.workflow!r} ({whole.place}) acts on all items of an "
                "execution, and each item goes through by itself.",
                "Set `run: all`, so that all items of an execution go through together.",
                "run",
            )
            return None
    included.graph = _reachable(included.graph, triggers[0].id)
    for inside in included.graph.nodes.values():
        for port in inside.node.input_ports():
            fed = any(port.name == e.target_port for e in included.graph.into(inside.id)) or port.loop
            if not fed and not port.optional:
                refuse(
                    f"input {port.name!r} of node {inside.id!r} of {flow.workflow!r} ({inside.place}) is fed by "
                    "another trigger of that file, which is left out.",
                    "Bring those rows in through the sub-flow-trigger.",
                )
                return None
    if flow.wait and not any(isinstance(n.node, Return) for n in included.graph.nodes.values()):
        refuse(f"{flow.workflow!r} gives nothing back: it has no node `return` that items reach.", "Set `wait: false`.")
        return None
    return included


def _reachable(graph: Graph, trigger: str) -> Graph:
    """What items of one trigger reach."""
    kept = graph.descendants(trigger) | {trigger}
    return replace(
        graph,
        nodes={n: g for n, g in graph.nodes.items() if n in kept},
        edges=tuple(e for e in graph.edges if e.source in kept and e.target in kept),
        loops=tuple(e for e in graph.loops if e.source in kept and e.target in kept),
    )


class _Splice:
    """Puts the nodes of a file in the place of one node."""

    def __init__(self, outer: Included, node: GraphNode, flow: SubFlow, inner: Included) -> None:
        self._outer, self._node, self._flow, self._inner = outer.graph, node, flow, inner.graph
        self._prefix = f"{node.id}."
        self._failing = any(
            e.source == node.id and e.port == ERROR_PORT for e in (*outer.graph.edges, *outer.graph.loops)
        )
        self._nodes: dict[str, GraphNode] = {}
        self._edges: list[Edge] = []

    def done(self) -> Graph | None:
        """None where the error port is connected and nothing would come by it."""
        for inside in self._inner.nodes.values():
            self._add(inside)
        enters = self._entry()
        if self._failing and not any(e.target == self._errors for e in self._edges):
            return None
        nodes: dict[str, GraphNode] = {}
        for node_id, node in self._outer.nodes.items():
            if node_id == self._node.id:
                nodes |= self._nodes
                nodes[node_id] = self._end()
            else:
                nodes[node_id] = node
        edges: list[Edge] = []
        for edge in self._outer.edges:
            edges += self._led(edge, enters)
        inside_edges = [self._renamed(e) for e in self._inner.edges]
        loops = [self._led_out(e) for e in self._outer.loops] + [self._renamed(e) for e in self._inner.loops]
        broken = {self._prefix + n for n in self._inner.broken}
        return replace(
            self._outer,
            nodes=nodes,
            edges=(*edges, *inside_edges, *self._edges),
            loops=tuple(loops),
            broken=self._outer.broken | broken,
        )

    def _add(self, inside: GraphNode) -> None:
        errors = inside.errors
        if errors.on_error == "dead_letter" and inside.node.spec.can_fail and not inside.is_trigger:
            if self._failing:
                errors = replace(errors, on_error=ERROR_PORT_POLICY)
                self._edges.append(self._edge(self._prefix + inside.id, ERROR_PORT, self._errors))
            elif self._node.errors.on_error != "error_port":
                errors = replace(errors, on_error=self._node.errors.on_error)
        node_id, returns = self._prefix + inside.id, isinstance(inside.node, Return)
        self._nodes[node_id] = replace(
            inside,
            id=node_id,
            kind="pass" if returns else inside.kind,  # so that it gives nothing to whoever is around this workflow
            node=Pass() if returns else within(inside.node, self._prefix),
            errors=errors,
            inside=self._prefix + inside.inside,
        )
        if returns and self._flow.wait:
            self._edges.append(self._edge(node_id, "out", self._node.id))

    @property
    def _errors(self) -> str:
        """Id of the node where failed items of all nodes inside meet: no user can write it."""
        return f"{self._prefix}~errors"

    def _entry(self) -> str:
        """The node that takes the place of the trigger; returns the one that items enter first."""
        trigger = next(n for n in self._nodes.values() if isinstance(n.node, SubFlowTrigger))
        assert isinstance(trigger.node, SubFlowTrigger)
        schema = trigger.node.schema
        node: Node = Pass() if schema is None else SubFlowEntry(schema=schema)
        errors = self._node.errors
        if self._failing:
            errors = replace(errors, on_error=ERROR_PORT_POLICY)
            if schema is not None:
                self._edges.append(self._edge(trigger.id, ERROR_PORT, self._errors))
        self._nodes[trigger.id] = replace(trigger, kind=node.spec.kind, node=node, errors=errors)
        if self._failing:
            meeting = SubFlowErrors()
            self._nodes[self._errors] = replace(self._node, id=self._errors, kind=meeting.spec.kind, node=meeting)
        if self._flow.inputs is None:
            return trigger.id
        given = f"{self._prefix}~inputs"
        set_fields = Set(fields=self._flow.inputs, keep=())
        raw = replace(self._node.raw, values={**self._node.raw.values, "fields": self._flow.inputs})
        self._nodes[given] = replace(self._node, id=given, kind="set", node=set_fields, errors=errors, raw=raw)
        self._edges.append(self._edge(given, "out", trigger.id))
        if self._failing:
            self._edges.append(self._edge(given, ERROR_PORT, self._errors))
        return given

    def _end(self) -> GraphNode:
        """The node that keeps the id."""
        returns = sum(e.target == self._node.id for e in self._edges)
        node: Node = Merge() if returns > 1 else Pass()
        return replace(self._node, kind=node.spec.kind, node=node)

    def _led(self, edge: Edge, enters: str) -> list[Edge]:
        """An edge of the outer graph, led in and out."""
        out = self._led_out(edge)
        if edge.target != self._node.id:
            return [out]
        inside = replace(out, target=enters, target_port="in")
        return [inside] if self._flow.wait else [inside, out]

    def _led_out(self, edge: Edge) -> Edge:
        if edge.source == self._node.id and edge.port == ERROR_PORT:
            return replace(edge, source=self._errors, port="out")
        return edge

    def _renamed(self, edge: Edge) -> Edge:
        return replace(edge, source=self._prefix + edge.source, target=self._prefix + edge.target)

    def _edge(self, source: str, port: str, target: str) -> Edge:
        return Edge(source=source, port=port, target=target, target_port="in", place=self._node.place)


ERROR_PORT_POLICY: Final = "error_port"
