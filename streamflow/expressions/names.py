"""What a chain of names and keys means: `amount`, `item["first name"]`, `nodes.priced.total`, n8n's `$json.x`.

A chain is a root name followed by keys. n8n's spellings are rewritten to the same roots, so the rest of the checker
knows only item, meta, nodes and vars.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from streamflow.expressions.parse import Parsed
from streamflow.expressions.problems import UNKNOWN_NAME, Problem

ROOTS = ("item", "meta", "nodes", "vars")
CLOCK = "expressions read no clock, so that a replay gives the same result"
_N8N_CLOCKS = frozenset(("$now", "$today", "now", "today", "utcnow"))


@dataclass(frozen=True, slots=True)
class Step:
    """One key of a chain: constant text and where it stands."""

    key: str
    offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """`root` is item, meta, nodes, vars or "" (a bare name, which is the first step); `rest`: the keys after it.

    `used` is how many syntax nodes from the innermost the chain takes up; `expr` is the outermost of them.
    """

    root: str
    rest: tuple[Step, ...]
    offset: int


def chain_of(parsed: Parsed, node: ast.expr) -> Chain | None:
    """The chain that a node is, or None when it is none (a call, an index that is not constant text, …)."""
    steps: list[Step] = []
    current = node
    while True:
        if isinstance(current, ast.Attribute):
            name, offset = parsed.attribute(current)
            steps.append(Step(name, offset))
            current = current.value
        elif isinstance(current, ast.Subscript) and _text_key(parsed, current.slice) is not None:
            steps.append(Step(_text_key(parsed, current.slice) or "", parsed.start(current.slice)))
            current = current.value
        else:
            break
    steps.reverse()
    if isinstance(current, ast.Name):
        return _rooted(parsed.name(current), steps, parsed.start(current))
    if isinstance(current, ast.Call) and isinstance(current.func, ast.Name) and parsed.name(current.func) == "$":
        key = _text_key(parsed, current.args[0]) if len(current.args) == 1 else None
        if key is None:
            raise Problem(parsed.start(current), UNKNOWN_NAME, "$(…) takes the id of a node as text")
        return _node(Step(key, parsed.start(current.args[0])), steps, parsed.start(current))
    return None


def _text_key(parsed: Parsed, node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        key = parsed.string(node)
        return key if isinstance(key, str) else None
    return None


def _rooted(name: str, steps: list[Step], offset: int) -> Chain:
    if name in ROOTS:
        return Chain(name, tuple(steps), offset)
    if not name.startswith("$"):
        return Chain("", (Step(name, offset), *steps), offset)
    if name in _N8N_CLOCKS:
        raise Problem(offset, UNKNOWN_NAME, f"{name!r}: {CLOCK}", "Use meta.timestamp.")
    keys = [s.key for s in steps]
    if name == "$json":
        return Chain("item", tuple(steps), offset)
    if name in ("$item", "$input"):
        skip = 2 if name == "$input" and keys[:2] == ["item", "json"] else 1 if keys[:1] == ["json"] else 0
        return Chain("item", tuple(steps[skip:]), offset)
    if name == "$vars":
        return Chain("vars", tuple(steps), offset)
    if name == "$node" and steps:
        return _node(steps[0], steps[1:], offset)
    if name == "$execution" and keys == ["id"]:
        return Chain("meta", (Step("execution", steps[0].offset),), offset)
    raise Problem(
        offset, UNKNOWN_NAME, f"{'.'.join([name, *keys])!r} is not known here",
        "These n8n names are: $json, $item, $input.item.json, $node, $('id'), $vars, $execution.id.",
    )  # fmt: skip


def _node(node: Step, steps: list[Step], offset: int) -> Chain:
    """n8n says `.json` or `.item.json` between a node and its fields."""
    keys = [s.key for s in steps]
    skip = 2 if keys[:2] == ["item", "json"] else 1 if keys[:1] == ["json"] else 0
    return Chain("nodes", (node, *steps[skip:]), offset)
