"""The rules that documents are held to: one stable code each, and how findings are shown to people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from streamflow.sdk.places import Diagnostic, Place

CODES: dict[str, str] = {
    # Reading the file
    "SF101": "The file must be YAML.",
    "SF102": "YAML anchors, aliases, merge keys, tags and several documents in a file are not accepted.",
    "SF103": "A key may occur once in a mapping.",
    "SF104": "A document has limits: 1 MiB of text, 64 levels, 50,000 values, 65,536 characters a line.",
    "SF105": "The file must exist, be readable and be UTF-8 text.",
    "SF106": "A Python workflow file must run and define a `Workflow`.",
    "SF107": "An expression that has a comma inside a flow mapping must be quoted.",
    # The form of the document
    "SF110": "Only known keys may be used.",
    "SF111": "A required key is missing.",
    "SF112": "A value must have the right type.",
    "SF113": "Ids of workflows and nodes are a letter or `_`, then letters, digits, `_` and `-`.",
    "SF114": "A node id may be used once.",
    "SF115": "A connection is `node.port -> node.port`, or a mapping with `from` and `to`.",
    "SF116": "Topic names made from the ids of a workflow and a node have at most 249 characters.",
    # Nodes and their parameters
    "SF120": "A node's type must be a known node kind.",
    "SF121": "Only parameters of the node kind may be given, each once.",
    "SF122": "A parameter without default must be given.",
    "SF123": "A parameter must have the right type.",
    "SF124": "A parameter must lie within its bounds, match its pattern, or be one of its choices.",
    "SF125": "A duration is a number and a unit: ms, s, m, h or d.",
    "SF126": "The parameters of a node must go together.",
    # The graph
    "SF130": "A workflow needs at least one node.",
    "SF131": "Connections and policies may only name nodes that exist.",
    "SF132": "Connections may only name ports that the node has.",
    "SF133": "A port must be named where a node has several.",
    "SF134": "A trigger has no input.",
    "SF135": "The graph must be acyclic but for loop connections.",
    "SF136": "Every node must be reachable from a trigger.",
    "SF137": "Every input port of a node must be connected.",
    "SF138": "A workflow needs a trigger.",
    "SF139": "Only a node that can fail has an error port and an error policy.",
    "SF140": "A node's error policy must agree with its connections.",
    "SF141": "The same two ports may be connected once.",
    "SF142": "What a node produces should go somewhere (a warning).",
    "SF143": "A connection's type must agree with its port and its condition.",
    "SF144": "A test case may only name triggers as input, and nodes and ports that exist.",
    "SF145": "A node that makes resume tokens must name a node that takes them, by the same key.",
    # What nodes find in their parameters once they know their items (`streamflow.nodes.checks`)
    "SF250": "Parameters of a node must go together.",
    "SF251": "A parameter may only name fields that the items have.",
    "SF252": "A field or an expression must have a type that the node can work with.",
    "SF253": "Two fields may not have one name.",
    "SF254": "A node that acts on a whole execution needs executions that end.",
    "SF255": "Items must fit the schema that they are written with.",
    "SF256": "A file that a parameter names must be readable.",
    "SF257": "A name must be one that a field or a port can have.",
    "SF258": "A stub holds the place of a node that has to be written (a warning).",
}


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By place, repeats dropped."""
    return sorted(dict.fromkeys(diagnostics), key=lambda d: (d.place.file, d.place.line, d.place.column, d.code))


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    return any(d.severity == "error" for d in diagnostics)


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """For programs: one plain mapping a finding."""
    return [
        {
            "file": d.place.file,
            "line": d.place.line,
            "column": d.place.column,
            "severity": d.severity,
            "code": d.code,
            "message": d.message,
            "mend": d.mend,
        }
        for d in diagnostics
    ]


def render(diagnostics: Sequence[Diagnostic], *, color: bool = False, sources: Mapping[str, str] | None = None) -> str:
    """For people: each finding with its source line and a caret under the column.

    `sources`: text of files by the name that places carry; files that are not there are read from disk if they can be.
    """
    texts = dict(sources or {})
    blocks = []
    for found in diagnostics:
        paint = _painter(color)
        tail = f" {found.mend}" if found.mend else ""
        tone = "31" if found.severity == "error" else "33"
        head = f"{found.place}: {paint(found.severity, '1;' + tone)}: {found.code}: {paint(found.message, '1')}{tail}"
        line = _source_line(found.place, texts)
        if line is not None:
            shown, caret = _excerpt(line, found.place.column)
            head += f"\n    {shown}\n    {' ' * caret}{paint('^', '1;' + tone)}"
        blocks.append(head)
    return "\n".join(blocks)


def _painter(color: bool):  # type: ignore[no-untyped-def]
    return (lambda text, style: f"\x1b[{style}m{text}\x1b[0m") if color else (lambda text, _style: text)


def _source_line(place: Place, texts: dict[str, str]) -> str | None:
    if not place.line or not place.file:
        return None
    if place.file not in texts:
        try:
            texts[place.file] = Path(place.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError):
            texts[place.file] = ""  # no excerpt then; the finding itself is complete
    lines = texts[place.file].splitlines()
    return lines[place.line - 1] if place.line <= len(lines) else None


def _excerpt(line: str, column: int, *, width: int = 120) -> tuple[str, int]:
    """The part of a line around a column, printable, and how far in the caret stands."""
    at = min(max(column - 1, 0), len(line))
    start = max(0, at - width * 2 // 3) if len(line) > width else 0
    shown = "".join(c if c.isprintable() else " " for c in line[start : start + width])
    return shown, at - start


def render_codes(*tables: Mapping[str, str]) -> str:
    """The reference page of diagnostics, as Markdown: the rules of documents and those of `tables` (code -> rule)."""
    rules = dict(CODES)
    for table in tables:
        if taken := rules.keys() & table.keys():
            raise ValueError(f"diagnostic codes {', '.join(sorted(taken))} have two meanings")
        rules |= table
    rows = "\n".join(f"| `{code}` | {_capital(rule)} |" for code, rule in sorted(rules.items()))
    return (
        "# Diagnostics\n\n"
        "What `streamflow check` finds. Every finding has a place (file, line, column), a code, what was found,\n"
        "and the nearest right thing. Codes are stable: SF1xx are about the document and its graph, SF20x, SF22x\n"
        "and SF23x about schemas and topics, SF21x about expressions, SF25x about nodes and their items.\n\n"
        "This page is generated from the tables in the code.\n\n"
        f"| code | rule |\n|---|---|\n{rows}\n"
    )


def _capital(rule: str) -> str:
    return rule[:1].upper() + rule[1:] + ("" if rule.endswith(".") else ".")
