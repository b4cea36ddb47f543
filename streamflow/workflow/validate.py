"""Everything that a document alone can be held to, given the node kinds. The compiler goes on from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamflow.sdk.node import Node
from streamflow.sdk.params import RawParams, build, nearest, param_types, spell, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.sdk.registry import NodeRegistry
from streamflow.workflow.cases import EXPECT_BESIDES_NODES
from streamflow.workflow.document import NODE_KEYS
from streamflow.workflow.findings import Findings
from streamflow.workflow.graph import check_graph
from streamflow.workflow.ids import id_mend, is_id
from streamflow.workflow.model import ERROR_PORT, NodeEntry, WorkflowDocument
from streamflow.workflow.ports import Wiring, output_names, wire

TOPIC_NAME_MAX = 249  # Kafka's limit
_LONGEST_SUFFIX = "repartition"  # of what a node may put behind `<workflow>.<node>.`, but for stores


def validate(document: WorkflowDocument, registry: NodeRegistry) -> tuple[dict[str, Node], list[Diagnostic]]:
    """Build all nodes and check the graph.

    Returns the nodes that could be built, by id, and all findings. Ports are filled in by `ports.resolve`, whose
    findings are among these.
    """
    findings = Findings()
    if not document.nodes:
        if not document.incomplete:
            findings.report(document.place, "SF130", "the workflow has no nodes.", "Add at least a trigger.")
        return {}, findings
    _check_ids(document, findings)
    nodes: dict[str, Node] = {}
    for entry in document.nodes:
        node = _build(entry, registry, findings)
        if node is not None and entry.id not in nodes:
            nodes[entry.id] = node
    _check_topic_names(document, nodes, findings)
    wiring = wire(document, nodes)
    findings += wiring.findings
    _check_policies(document, nodes, wiring, findings)
    _check_compensations(document, nodes, findings)
    check_graph(document, nodes, wiring, findings)
    _check_tests(document, nodes, findings)
    _check_tokens(document, nodes, findings)
    return nodes, findings


def _check_ids(document: WorkflowDocument, findings: Findings) -> None:
    if document.name and not is_id(document.name):
        findings.report(document.place, "SF113", f"{spell(document.name)} is no workflow id.", id_mend(document.name))
    first: dict[str, NodeEntry] = {}
    for entry in document.nodes:
        if not is_id(entry.id):
            findings.report(entry.place, "SF113", f"{spell(entry.id)} is no node id.", id_mend(entry.id))
        if first.setdefault(entry.id, entry) is not entry:
            on = f" on line {first[entry.id].place.line}" if first[entry.id].place.line else ""
            findings.report(
                entry.place, "SF114", f"node id {spell(entry.id)} is already used{on}.", "Rename one of them."
            )


def _build(entry: NodeEntry, registry: NodeRegistry, findings: Findings) -> Node | None:
    if not entry.type:
        return None  # reported by the loader
    kind = registry.get(entry.type)
    if kind is None:
        findings.report(
            entry.type_place, "SF120", f"unknown node kind {spell(entry.type)}.", suggestion(entry.type, registry.names)
        )
        return None
    raw = _without_misspelt_keys(entry.params, kind, findings)
    node, found = build(kind, raw)
    findings += found
    return None if len(raw.values) < len(entry.params.values) else node


def _without_misspelt_keys(raw: RawParams, kind: type[Node], findings: Findings) -> RawParams:
    """Report keys that stand for what every node may say (`disbled`), which `build` knows nothing of."""
    params = param_types(kind)
    misspelt = {
        name: near
        for name in raw.values
        if name not in params and not nearest(name, params) and (near := nearest(name, NODE_KEYS))
    }
    for name, near in misspelt.items():
        findings.report(raw.key_at(name), "SF121", f"unknown parameter {spell(name)}.", f"Did you mean {near!r}?")
    return replace(raw, values={n: v for n, v in raw.values.items() if n not in misspelt}) if misspelt else raw


def _check_topic_names(document: WorkflowDocument, nodes: Mapping[str, Node], findings: Findings) -> None:
    for entry in document.nodes:
        node = nodes.get(entry.id)
        suffixes = [_LONGEST_SUFFIX, *(f"{s.name}.changelog" for s in (node.spec.stores if node else ()))]
        longest = max((f"{document.name}.{entry.id}.{suffix}" for suffix in suffixes), key=len)
        if len(longest) > TOPIC_NAME_MAX:
            findings.report(
                entry.place,
                "SF116",
                f"a topic of node {spell(entry.id)} would have {len(longest)} characters, more than {TOPIC_NAME_MAX}.",
                "Shorten the id of the node or of the workflow.",
            )


def _check_policies(document: WorkflowDocument, nodes: Mapping[str, Node], wiring: Wiring, findings: Findings) -> None:
    known = [entry.id for entry in document.nodes]
    wired = {c.source for c in document.connections if ERROR_PORT in (c.source_port, c.type)}
    for entry in document.nodes:
        node = nodes.get(entry.id)
        place = entry.policy_place if entry.policy_place.line else entry.place
        who = f"node {spell(entry.id)}"
        if node is not None and not node.spec.can_fail and (entry.on_error or entry.retry):
            findings.report(
                place, "SF139", f"{who} ({node.spec.kind}) cannot fail.", "Remove its `on_error` and `retry`."
            )
        elif entry.fallback:
            _check_fallback(entry, known, nodes, place, findings)
            if entry.id in wired:
                findings.report(
                    place, "SF140", f"{who} has a fallback and a connected error port.", "Keep one of them."
                )
        elif entry.on_error == "error_port":
            if entry.id not in wired and wiring.certain and not document.incomplete:
                mend = f"Add a connection `{entry.id}.error -> …`."
                findings.report(place, "SF140", f"{who}: on_error is error_port, but that port is not connected.", mend)
        elif entry.on_error not in (None, "compensate") and entry.id in wired:
            findings.report(
                place,
                "SF140",
                f"{who}: its error port is connected, but on_error is {entry.on_error}: nothing would arrive there.",
                "Remove one of them.",
            )


def _check_compensations(document: WorkflowDocument, nodes: Mapping[str, Node], findings: Findings) -> None:
    known = [entry.id for entry in document.nodes]
    for entry in document.nodes:
        if not entry.compensate:
            if entry.compensate_when is not None:
                findings.report(
                    entry.place,
                    "SF140",
                    f"node {spell(entry.id)} says when it is compensated, but not by what.",
                    "Add `compensate: NODE`.",
                )
        elif entry.compensate not in known:
            findings.report(
                entry.place,
                "SF131",
                f"there is no node {spell(entry.compensate)} to compensate {spell(entry.id)}.",
                suggestion(entry.compensate, known),
            )
        elif entry.compensate == entry.id:
            findings.report(entry.place, "SF140", f"node {spell(entry.id)} compensates itself.", "Name another node.")
        elif (target := nodes.get(entry.compensate)) is not None and not target.input_ports():
            findings.report(
                entry.place, "SF134", f"node {spell(entry.compensate)} is a trigger: it cannot compensate anything."
            )


def _check_tokens(document: WorkflowDocument, nodes: Mapping[str, Node], findings: Findings) -> None:
    """Who makes tokens names a node that takes them, by the same key."""
    known = [entry.id for entry in document.nodes]
    for entry in document.nodes:
        node = nodes.get(entry.id)
        wait = "" if node is None else node.signs_for()
        if node is None or not wait:
            continue
        place, target = entry.params.at("wait"), nodes.get(wait)
        if wait not in known:
            message = f"there is no node {spell(wait)} to make tokens for."
            findings.report(place, "SF145", message, suggestion(wait, known))
        elif target is None:
            continue  # reported
        elif not target.hears_signals() or not getattr(target, "signed", False):
            message = f"node {spell(wait)} takes no signed signals."
            findings.report(place, "SF145", message, "Name a `wait` with `signal` and `signed: true`.")
        elif target.port_key("in") != node.port_key("in"):
            message = f"node {spell(wait)} waits by another key than that of the tokens."
            findings.report(
                entry.params.at("key"), "SF145", message, "Set `key` to the same in both, or leave both out."
            )


def _check_fallback(
    entry: NodeEntry, known: list[str], nodes: Mapping[str, Node], place: Place, findings: Findings
) -> None:
    if entry.fallback not in known:
        findings.report(
            place,
            "SF131",
            f"there is no node {spell(entry.fallback)} to fall back to.",
            suggestion(entry.fallback, known),
        )
    elif entry.fallback == entry.id:
        findings.report(place, "SF140", f"node {spell(entry.id)} falls back to itself.", "Name another node.")
    elif (target := nodes.get(entry.fallback)) is not None and not target.input_ports():
        findings.report(place, "SF134", f"node {spell(entry.fallback)} is a trigger: it cannot take failed items.")


def _check_tests(document: WorkflowDocument, nodes: Mapping[str, Node], findings: Findings) -> None:
    known = dict.fromkeys(entry.id for entry in document.nodes)
    for case in document.tests:
        for name in case.input:
            place = case.places.get(("input", name), case.place)
            if name not in known:
                triggers = [n for n, node in nodes.items() if not node.input_ports()]
                findings.report(place, "SF144", f"there is no node {spell(name)}.", suggestion(name, triggers))
            elif name in nodes and nodes[name].input_ports() and not nodes[name].hears_signals():
                said = f"node {spell(name)} is no trigger, and waits for no signal: tests feed nothing else."
                findings.report(place, "SF144", said)
        for name in case.expect:
            if name in EXPECT_BESIDES_NODES:
                continue
            place = case.places.get(("expect", name), case.place)
            node_id, _, port = name.partition(".")
            if node_id not in known:
                findings.report(place, "SF144", f"there is no node {spell(node_id)}.", suggestion(node_id, known))
            elif port and node_id in nodes and port not in (ports := output_names(nodes[node_id])):
                findings.report(
                    place,
                    "SF144",
                    f"node {spell(node_id)} has no output port {spell(port)}.",
                    suggestion(port, ports),
                )
