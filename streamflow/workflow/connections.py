"""Connections as written: arrows such as `a.true -> [b, c] -> d`, or mappings with `from` and `to`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import ConnectionType
from streamflow.sdk.params import BROKEN, literal_text, nearest, spell, suggestion
from streamflow.sdk.places import Place
from streamflow.workflow.findings import Findings
from streamflow.workflow.model import ERROR_PORT, Connection
from streamflow.workflow.tree import Tree, plain

_TOKEN = re.compile(r"\s*(?:(?P<arrow>->)|(?P<mark>[\[\],])|(?P<name>(?:[^\s,\[\]-]|-(?!>))+))")
_FORM = "Write `node.port -> node.port`, such as `large.true -> [priced, counted]`."
KEYS = ("from", "port", "to", "input", "type", "index", "condition", "label", "metadata")
CONNECTIONS_MAX = 10_000  # a fan-in before a fan-out multiplies


@dataclass(frozen=True, slots=True)
class End:
    """One end of an arrow."""

    node: str
    port: str
    place: Place


def read_connections(tree: Tree, findings: Findings) -> list[Connection]:
    """Connections of the document's list, those that can be read."""
    items = tree.sequence
    if items is None:
        if tree.value is not None and tree.value is not BROKEN:
            findings.report(tree.place, "SF112", f"connections: expected a list, found {spell(tree.value)}.", _FORM)
        return []
    made: list[Connection] = []
    for item in items:
        if isinstance(item.value, str):
            made += read_arrow(item.value, item.text, findings)
        elif item.mapping is not None:
            made += _from_mapping(item, findings)
        elif item.value is not BROKEN:
            findings.report(item.place, "SF115", f"{spell(item.value)} is no connection.", _FORM)
        if len(made) > CONNECTIONS_MAX:
            findings.report(item.place, "SF104", f"the workflow has more than {CONNECTIONS_MAX:,} connections.")
            return made[:CONNECTIONS_MAX]
    return made


def read_arrow(text: str, place: Place, findings: Findings) -> list[Connection]:
    """Connections of one arrow text; none if it is wrong (then reported)."""
    groups: list[list[End]] = []
    tokens = list(_TOKEN.finditer(text))
    at = 0

    def kind(position: int) -> str:
        return tokens[position].group().strip() if position < len(tokens) else "the end"

    def where(position: int) -> Place:
        if position >= len(tokens):
            return place.moved(len(text.rstrip()))
        return place.moved(tokens[position].end() - len(tokens[position].group().strip()))

    def end() -> End | None:
        nonlocal at
        if at < len(tokens) and (name := tokens[at].group("name")):
            found = _end(name, where(at))
            at += 1
            return found
        findings.report(where(at), "SF115", f"expected a node, found {kind(at)!r}.", _FORM)
        return None

    while True:
        group: list[End] = []
        if kind(at) == "[":
            at += 1
            while True:
                if (one := end()) is None:
                    return []
                group.append(one)
                at += 1
                if kind(at - 1) == "]":
                    break
                if kind(at - 1) != ",":
                    findings.report(where(at - 1), "SF115", f"expected ',' or ']', found {kind(at - 1)!r}.", _FORM)
                    return []
        elif (one := end()) is not None:
            group.append(one)
        else:
            return []
        groups.append(group)
        if at >= len(tokens):
            break
        if kind(at) != "->":
            findings.report(where(at), "SF115", f"expected '->', found {kind(at)!r}.", _FORM)
            return []
        at += 1
    if len(groups) < 2:
        findings.report(place, "SF115", f"{spell(text)} connects nothing: there is no '->'.", _FORM)
        return []
    made: list[Connection] = []
    for left, right in itertools.pairwise(groups):
        # In the middle of a chain `node.port` is the port that is entered; the node is left by its only output.
        first = left is groups[0]
        sources = left if first else [replace(e, port="") for e in left]
        made += [_wire(source, target) for source in sources for target in right]
    return made


def _end(text: str, place: Place) -> End:
    node, _, port = text.partition(".")
    return End(node, port, place)


def _wire(source: End, target: End, **more: Any) -> Connection:
    kind: ConnectionType = "error" if source.port == ERROR_PORT else "main"
    return Connection(
        source=source.node,
        source_port=source.port,
        target=target.node,
        target_port=target.port,
        place=source.place,
        target_place=target.place,
        **{"type": kind, **more},
    )


def _from_mapping(item: Tree, findings: Findings) -> list[Connection]:
    entries = item.mapping
    assert entries is not None
    before = len(findings)
    if not entries.keys() & set(KEYS):
        findings.report(item.place, "SF115", "this mapping is no connection.", _FORM)
        return []
    for name, (place, _) in entries.items():
        if name not in KEYS:
            findings.report(place, "SF110", f"unknown key {spell(name)} of a connection.", suggestion(name, KEYS))
    for name in ("from", "to"):
        if name not in entries:
            findings.report(item.place, "SF111", f"the connection has no {name!r}.", _FORM)
    sources = _ends(entries, "from", "port", findings)
    targets = _ends(entries, "to", "input", findings)
    more = _details(entries, findings)
    if len(findings) > before or any(tree.value is BROKEN for _, tree in entries.values()):
        return []
    if more.get("type") == "error":
        sources = [replace(s, port=s.port or ERROR_PORT) for s in sources]
    if any(s.port for s in sources):
        more.pop("index", None)  # the port is named: the index says it again
    return [_wire(source, target, **more) for source in sources for target in targets]


def _ends(entries: Mapping[str, tuple[Place, Tree]], key: str, port_key: str, findings: Findings) -> list[End]:
    if key not in entries:
        return []
    tree = entries[key][1]
    port = ""
    if port_key in entries:
        port_tree = entries[port_key][1]
        found = port_tree.value
        if isinstance(found, bool | int | str):  # YAML reads an unquoted `true` as a boolean
            port = str(found).lower() if isinstance(found, bool) else str(found)
        elif found is not BROKEN:
            findings.report(port_tree.place, "SF112", f"{port_key}: expected a port, found {spell(found)}.")
    made = []
    for one in tree.sequence if tree.sequence is not None else [tree]:
        if isinstance(one.value, str) and one.value:
            end = _end(one.value.strip(), one.text)
            if port and end.port and end.port != port:
                findings.report(
                    one.place, "SF115", f"{key}: {one.value!r} names port {end.port!r}, {port_key} names {port!r}."
                )
            made.append(replace(end, port=end.port or port))
        elif one.value is not BROKEN:
            findings.report(one.place, "SF112", f"{key}: expected a node, found {spell(one.value)}.")
    return made


def _details(entries: Mapping[str, tuple[Place, Tree]], findings: Findings) -> dict[str, Any]:
    """Type, index, condition, label and metadata of a connection."""
    made: dict[str, Any] = {}

    def wrong(tree: Tree, key: str, expected: str, mend: str = "") -> None:
        if tree.value is not BROKEN:
            findings.report(tree.place, "SF112", f"{key}: expected {expected}, found {spell(tree.value)}.", mend)

    if "condition" in entries:
        tree = entries["condition"][1]
        text = tree.value if isinstance(tree.value, str) else literal_text(tree.value)
        if text is None or tree.value is None or not text.strip():
            wrong(tree, "condition", "an expression")
        else:
            made |= {"condition": Expression(text, tree.text), "type": "conditional"}
    if "type" in entries:
        tree = entries["type"][1]
        types = get_args(ConnectionType)
        if tree.value in types:
            if tree.value == "conditional" and "condition" not in entries:
                findings.report(tree.place, "SF143", "a conditional connection needs a condition.", "Add `condition:`.")
            elif tree.value == "error" and "condition" in entries:
                findings.report(tree.place, "SF143", "an error connection has no condition.", "Filter behind it.")
            elif tree.value != "main":
                made["type"] = tree.value
        else:
            near = nearest(tree.value, types) if isinstance(tree.value, str) else ""
            wrong(tree, "type", f"one of {', '.join(types)}", f"Did you mean {near!r}?" if near else "")
    if "index" in entries:
        tree = entries["index"][1]
        if isinstance(tree.value, int) and not isinstance(tree.value, bool) and tree.value >= 0:
            made["index"] = tree.value
        else:
            wrong(tree, "index", "the number of an output port, from 0")
    if "label" in entries:
        tree = entries["label"][1]
        if isinstance(tree.value, str):
            made["label"] = tree.value
        else:
            wrong(tree, "label", "text")
    if "metadata" in entries:
        tree = entries["metadata"][1]
        if tree.mapping is not None:
            made["metadata"] = plain(tree)
        else:
            wrong(tree, "metadata", "a mapping")
    return made
