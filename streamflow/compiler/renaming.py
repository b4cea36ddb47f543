"""Expressions of a sub-flow's nodes, once these are named otherwise: `nodes.first.x` is `nodes["priced.first"].x`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, Template
from streamflow.sdk.places import Place

_TOKEN = re.compile(
    r"""(?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<number>\d[\w.]*)|(?P<name>\$?[^\W\d]\w*)|(?P<space>\s+)"""
    r"|(?P<sign>.)",
    re.DOTALL,
)
_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RenamedPlace(Place):
    """Where an expression stands that was rewritten: columns count in what the user wrote."""

    parts: tuple[tuple[str, str], ...] = ()

    def moved(self, columns: int) -> Place:
        written = 0
        for old, new in self.parts:
            if columns < len(new):
                return Place(self.file, self.line, self.column + written + min(columns, max(len(old) - 1, 0)))
            columns -= len(new)
            written += len(old)
        return Place(self.file, self.line, self.column + written + columns)


def within(node: Node, prefix: str) -> Node:
    """The node with all expressions rewritten: nodes and variables are those behind `prefix`, which ends in a dot."""
    changed = {f.name: _changed(getattr(node, f.name), prefix) for f in dataclasses.fields(node)}  # type: ignore[arg-type]
    same = all(changed[name] is getattr(node, name) for name in changed)
    return node if same else dataclasses.replace(node, **changed)  # type: ignore[type-var]


def _changed(value: Any, prefix: str) -> Any:
    """`value` itself where nothing in it changes."""
    if isinstance(value, Expression):
        parts = _renamed(value.text, prefix)
        text = "".join(new for _, new in parts)
        if text == value.text:
            return value
        at = value.place
        return Expression(text, RenamedPlace(at.file, at.line, at.column, parts=parts) if at.line else at)
    if isinstance(value, Template):
        text = _HOLE.sub(lambda hole: "{{" + renamed(hole[1], prefix) + "}}", value.text)
        return value if text == value.text else Template(text, value.place)
    if isinstance(value, Mapping):
        mapping = {k: _changed(v, prefix) for k, v in value.items()}
        return value if all(mapping[k] is v for k, v in value.items()) else mapping
    if isinstance(value, tuple):
        items = tuple(_changed(v, prefix) for v in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _changed(getattr(value, f.name), prefix) for f in dataclasses.fields(value) if f.init}
        same = all(fields[name] is getattr(value, name) for name in fields)
        return value if same else dataclasses.replace(value, **fields)
    return value


def renamed(text: str, prefix: str) -> str:
    """The text of an expression, for nodes whose ids have `prefix` and variables that stand under it."""
    return "".join(new for _, new in _renamed(text, prefix))


def _renamed(text: str, prefix: str) -> tuple[tuple[str, str], ...]:
    """Pieces of the text: as they were, and as they are."""
    tokens = [(t.lastgroup, t.group()) for t in _TOKEN.finditer(text)]
    spoken = [at for at, (kind, _) in enumerate(tokens) if kind != "space"]
    out = [token for _, token in tokens]

    def spoke(n: int) -> str:
        return tokens[spoken[n]][1] if 0 <= n < len(spoken) else ""

    for n, at in enumerate(spoken):
        word = tokens[at][1]
        if spoke(n - 1) == ".":
            continue
        if word in ("vars", "$vars"):
            out[at] = f"{word}[{_quoted(prefix)}]"
        elif word in ("nodes", "$node", "$"):
            opens, name = spoke(n + 1), spoke(n + 2)
            if opens == "." and word != "$" and name:
                out[spoken[n + 1]], out[spoken[n + 2]] = "", f"[{_quoted(prefix + name)}]"
            elif opens in ("[", "(") and name[:1] in ("'", '"'):
                out[spoken[n + 2]] = name[0] + prefix + name[1:]
    return tuple((token, new) for (_, token), new in zip(tokens, out, strict=True))


def _quoted(text: str) -> str:
    return json.dumps(text)
