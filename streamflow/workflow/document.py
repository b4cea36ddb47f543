"""From a tree of YAML values to a `WorkflowDocument`. Nodes are not built here: that needs the node kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamflow.sdk.params import BROKEN, KEY, Path, RawParams, build_form, nearest, param_types, spell, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.cases import read_cases
from streamflow.workflow.connections import read_connections
from streamflow.workflow.error_forms import Failing, read_on_error
from streamflow.workflow.findings import Findings
from streamflow.workflow.forms import HeaderForm, NodeForm
from streamflow.workflow.ids import as_id, id_mend, is_id
from streamflow.workflow.model import Metadata, NodeEntry, WorkflowDocument, WorkflowPolicies
from streamflow.workflow.tree import Tree, plain

SECTIONS = ("nodes", "connections", "tests")
NODE_KEYS = ("id", "type", "parameters", "on_error", *param_types(NodeForm))
_NODE_FORM = "Write {type: kind, parameter: value, …}."


def read_document(
    tree: Tree, *, base_folder: str = "", source: str = "", incomplete: bool = False
) -> tuple[WorkflowDocument | None, list[Diagnostic]]:
    """The document in a tree. It is None only where there is no mapping at all; what is faulty is left out of it.

    `incomplete`: the tree is known to lack something.
    """
    findings = Findings()
    entries = tree.mapping
    if entries is None:
        if tree.value is not BROKEN:
            findings.report(
                tree.place,
                "SF112",
                f"a workflow is a mapping, found {spell(tree.value)}.",
                "Begin with `workflow: name` and `nodes:`.",
            )
        return None, findings
    header = _header(entries, tree.place, findings)
    if "nodes" not in entries:
        findings.report(tree.place, "SF111", "missing key 'nodes'.", "Add `nodes:` with one entry a node.")
    nodes, faulty = _nodes(entries["nodes"][1], findings) if "nodes" in entries else ([], True)
    before = len(findings)
    connections = read_connections(entries["connections"][1], findings) if "connections" in entries else []
    faulty |= len(findings) > before or any(nearest(key, SECTIONS) for key in entries if key not in SECTIONS)
    tests = read_cases(entries["tests"][1], findings) if "tests" in entries else []
    name_at = entries["workflow"][1].text if "workflow" in entries else tree.place
    name = header.workflow
    if name and not is_id(name):  # the document goes on with a sound one, so that no topic name is faulty as well
        findings.report(name_at, "SF113", f"{spell(name)} is no workflow id.", id_mend(name))
        name = as_id(name)
    policies = header.policies.policies() if header.policies else WorkflowPolicies()
    document = WorkflowDocument(
        name=name,
        description=header.description,
        version=str(header.version),
        nodes=tuple(nodes),
        connections=tuple(connections),
        policies=replace(policies, places=_places(entries, "policies")),
        vars=header.vars or {},
        environments={name: form.vars for name, form in (header.environments or {}).items()},
        registry=header.registry,
        tests=tuple(tests),
        base_folder=base_folder,
        source=source,
        place=name_at,
        incomplete=incomplete or faulty,
    )
    return document, findings


def _places(entries: Mapping[str, tuple[Place, Tree]], section: str) -> dict[str, Place]:
    """Where the keys of a section stand."""
    inside = entries[section][1].mapping if section in entries else None
    return {key: place for key, (place, _) in (inside or {}).items()}


def _header(entries: Mapping[str, tuple[Place, Tree]], place: Place, findings: Findings) -> HeaderForm:
    """The top of the document. Each key counts for itself: one that is wrong falls back to its default."""
    known = (*param_types(HeaderForm), *SECTIONS)
    values: dict[str, object] = {}
    places: dict[Path, Place] = {}
    for key, (key_place, inner) in entries.items():
        if key in SECTIONS:
            continue
        if key not in param_types(HeaderForm):
            mend = suggestion(key, known)
            if key in ("id", "name"):
                mend = "Did you mean 'workflow'?"
            findings.report(key_place, "SF110", f"unknown key {spell(key)}.", mend)
            continue
        places[(key, KEY)] = key_place
        values[key] = plain(inner, (key,), places)
    made, found = build_form(HeaderForm, RawParams(values=values, places=places, place=place), noun="key")
    findings += found
    if made is not None:
        return made
    for key in list(values):  # the rest of the document is still checked, with what is right of the top
        alone = {"workflow": "unnamed"} | {key: values[key]}
        if build_form(HeaderForm, RawParams(values=alone), noun="key")[0] is None:
            del values[key]
    kept, _ = build_form(HeaderForm, RawParams(values={"workflow": ""} | values), noun="key")
    assert kept is not None
    return kept


def _nodes(tree: Tree, findings: Findings) -> tuple[list[NodeEntry], bool]:
    """Nodes of a mapping by id, or of a list of nodes with `id`; and whether some had to be left out."""
    if (entries := tree.mapping) is not None:
        return [_node(node_id, place, inner, findings) for node_id, (place, inner) in entries.items()], False
    if (items := tree.sequence) is None:
        if tree.value is not BROKEN and tree.value is not None:
            mend = "Write one entry a node, `id: {type: kind}`."
            findings.report(tree.place, "SF112", f"nodes: expected a mapping, found {spell(tree.value)}.", mend)
        return [], tree.value is not None
    made: list[NodeEntry] = []
    for item in items:
        inside = item.mapping or {}
        named = inside["id"][1] if "id" in inside else None
        if named is not None and isinstance(named.value, str):
            made.append(_node(named.value, named.text, item, findings))
        elif item.value is not BROKEN:
            findings.report(item.place, "SF111", "a node of a list needs an 'id'.", "Write {id: name, type: kind}.")
    return made, len(made) < len(items)


def _node(node_id: str, place: Place, tree: Tree, findings: Findings) -> NodeEntry:
    """One node. What is wrong is reported and left out; without a type it stays, so that its wires are no surprise."""
    entries = tree.mapping
    if entries is None:
        if tree.value is not BROKEN:
            findings.report(
                tree.place,
                "SF112",
                f"node {spell(node_id)}: expected a mapping, found {spell(tree.value)}.",
                _NODE_FORM,
            )
        return NodeEntry(id=node_id, type="", place=place)
    kind, type_place = _type(node_id, place, entries, findings)
    values, places = _parameters(entries, findings)
    form = _node_form(entries, place, findings)
    failing, policy_place = _on_error(entries, findings)
    return NodeEntry(
        id=node_id,
        type=kind,
        params=RawParams(values=values, places=places, place=place),
        name=form.name,
        credentials=form.credentials or {},
        disabled=form.disabled,
        notes=form.notes,
        position=(form.position[0], form.position[1]) if form.position else None,
        metadata=form.metadata.metadata() if form.metadata else Metadata(),
        on_error=failing.on_error,
        fallback=failing.fallback,
        value=failing.value,
        breaker=failing.breaker,
        retry=form.retry.policy() if form.retry else None,
        retry_when=form.retry.when if form.retry else None,
        compensate=form.compensate,
        compensate_when=form.compensate_when,
        place=place,
        type_place=type_place,
        policy_place=policy_place,
    )


def _type(
    node_id: str, place: Place, entries: Mapping[str, tuple[Place, Tree]], findings: Findings
) -> tuple[str, Place]:
    if "type" not in entries:
        near = nearest("type", [k for k in entries if k not in NODE_KEYS])
        mend = f"Did you mean 'type' where you wrote {near!r}?" if near else _NODE_FORM
        findings.report(place, "SF111", f"node {spell(node_id)} has no type.", mend)
        return "", place
    tree = entries["type"][1]
    if isinstance(tree.value, str) and tree.value:
        return tree.value, tree.text
    if tree.value is not BROKEN:
        findings.report(tree.place, "SF112", f"type: expected a node kind, found {spell(tree.value)}.")
    return "", tree.place


def _parameters(
    entries: Mapping[str, tuple[Place, Tree]], findings: Findings
) -> tuple[dict[str, object], dict[Path, Place]]:
    """Parameters stand beside `type`, or under `parameters`, or both."""
    values: dict[str, object] = {}
    places: dict[Path, Place] = {}
    inside: Mapping[str, tuple[Place, Tree]] = {}
    if "parameters" in entries:
        tree = entries["parameters"][1]
        if tree.mapping is not None:
            inside = tree.mapping
        elif tree.value is not BROKEN and tree.value is not None:
            findings.report(tree.place, "SF112", f"parameters: expected a mapping, found {spell(tree.value)}.")
    beside = {key: entry for key, entry in entries.items() if key not in NODE_KEYS}
    for key, (place, inner) in [*beside.items(), *inside.items()]:
        if key in values:
            findings.report(place, "SF103", f"parameter {spell(key)} is already given on line {places[key,].line}.")
            continue
        places[(key, KEY)] = place
        values[key] = plain(inner, (key,), places)
    return values, places


def _node_form(entries: Mapping[str, tuple[Place, Tree]], place: Place, findings: Findings) -> NodeForm:
    values: dict[str, object] = {}
    places: dict[Path, Place] = {}
    for key in param_types(NodeForm):
        if key in entries:
            places[(key, KEY)] = entries[key][0]
            values[key] = plain(entries[key][1], (key,), places)
    made, found = build_form(NodeForm, RawParams(values=values, places=places, place=place), noun="key")
    findings += found
    return made or NodeForm()


def _on_error(entries: Mapping[str, tuple[Place, Tree]], findings: Findings) -> tuple[Failing, Place]:
    """`on_error: stop`, or `on_error: {fallback: node}`; and where that stands."""
    if "on_error" not in entries:
        return Failing(), Place()
    tree = entries["on_error"][1]
    places: dict[Path, Place] = {}
    written = plain(tree, (), places)
    values = written if isinstance(written, Mapping) else {}
    made, found = read_on_error(written, tree.text, RawParams(values=values, places=places, place=tree.place))
    findings += found
    fallback = (tree.mapping or {}).get("fallback")
    return made, tree.text if fallback is None else fallback[1].text
