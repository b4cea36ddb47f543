"""Writes a draft as a YAML document with comments, and knows on which lines each part stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamflow.workflow.n8n.draft import Draft, DraftNode, DraftWire
from streamflow.workflow.n8n.yaml_text import comment, key_text, lines_of


@dataclass(slots=True)
class Written:
    """The text, and what stands on its lines (from 1): `nodes` and `wires` by line."""

    text: str = ""
    nodes: dict[int, DraftNode] = field(default_factory=dict)
    wires: dict[int, DraftWire] = field(default_factory=dict)


def write(draft: Draft, summary: list[str]) -> Written:
    """The document. `summary`: comments at its top."""
    lines: list[str] = []
    made = Written()
    for text in ("Imported from n8n by `streamflow import n8n`.", *summary, *draft.header):
        lines += comment(text)
    lines += ["", *lines_of("workflow", draft.workflow, 0)]
    if draft.title and draft.title != draft.workflow:
        lines += lines_of("description", draft.title, 0)
    if draft.vars or draft.texts:
        lines.append("vars:")
        for name, text in draft.texts.items():
            lines += lines_of(name, text, 2)
        for name, source in draft.vars.items():
            lines.append(f'  {key_text(name)}: ""{comment(f"{source} of n8n: give it a value", 2)[0]}')
    lines.append("nodes:")
    for node in draft.nodes:
        start = len(lines) + 1
        lines += _node(node)
        made.nodes.update(dict.fromkeys(range(start, len(lines) + 1), node))
    _connections(draft, lines, made)
    if draft.tests:
        lines += lines_of("tests", draft.tests, 0)
    lines += [line for text in draft.footer for line in comment(text)]
    made.text = "\n".join(lines) + "\n"
    return made


def _node(node: DraftNode) -> list[str]:
    body = lines_of(node.id, node.to_plain(), 2)
    above = [line for text in node.comments for line in comment(text, 2)]
    if not node.commented:
        return [*above, *body]
    return [*comment(f"Left out: {node.commented}.", 2), *above, *(line for b in body for line in comment(b[2:], 2))]


def _connections(draft: Draft, lines: list[str], made: Written) -> None:
    if not any(not wire.commented for wire in draft.wires):
        lines.append("connections: []")
    else:
        lines.append("connections:")
    for wire in draft.wires:
        if wire.commented:
            lines += comment(f"{wire}: left out, {wire.commented}", 2)
        else:
            lines.append(f"  - {_looping(wire) if wire.loop else wire}")
            made.wires[len(lines)] = wire


def _looping(wire: DraftWire) -> str:
    return f"{{from: {wire.source}, to: {wire.target.node}, input: {wire.target.port}, type: loop}}"
