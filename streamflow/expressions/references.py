"""Which names an expression reads, found without any schema: the compiler decides by it what to carry along."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from streamflow.expressions.names import Chain, chain_of
from streamflow.expressions.parse import Parsed, parse
from streamflow.expressions.problems import Problem
from streamflow.sdk.expression import Expression

WHOLE = "*"
_CONSTANTS = frozenset(("true", "false", "null", "True", "False", "None"))


@dataclass(frozen=True, slots=True)
class References:
    """`fields` of the item, `nodes` as node id -> fields ("*" = all of it), `meta` names; `whole_item`: `item`.

    `loop` is among `fields`: only a loop around makes it another name.
    """

    fields: frozenset[str] = frozenset()
    nodes: dict[str, frozenset[str]] = field(default_factory=dict)
    meta: frozenset[str] = frozenset()
    whole_item: bool = False


@dataclass(slots=True)
class _Collector:
    parsed: Parsed
    fields: set[str] = field(default_factory=set)
    nodes: dict[str, set[str]] = field(default_factory=dict)
    meta: set[str] = field(default_factory=set)
    whole_item: bool = False

    def visit(self, node: ast.expr) -> None:
        stack: list[ast.AST] = [node]
        while stack:
            current = stack.pop()
            if isinstance(current, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
                try:
                    chain = chain_of(self.parsed, current)
                except Problem:
                    continue
                if chain is not None:
                    self._add(chain)
                    continue
            if isinstance(current, ast.Call):
                stack.extend(current.args)  # the function's name is no reference
                continue
            stack.extend(ast.iter_child_nodes(current))

    def _add(self, chain: Chain) -> None:
        first = chain.rest[0].key if chain.rest else ""
        if chain.root == "" and first not in _CONSTANTS:
            self.fields.add(first)
        elif chain.root == "item":
            if chain.rest:
                self.fields.add(first)
            else:
                self.whole_item = True
        elif chain.root == "meta" and chain.rest:
            self.meta.add(first)
        elif chain.root == "nodes" and chain.rest:
            self.nodes.setdefault(first, set()).add(chain.rest[1].key if len(chain.rest) > 1 else WHOLE)


def references(expression: Expression) -> References:
    """What an expression names; nothing when its text is no expression."""
    try:
        parsed = parse(expression.text)
    except Problem:
        return References()
    found = _Collector(parsed)
    found.visit(parsed.tree)
    return References(
        fields=frozenset(found.fields),
        nodes={node: frozenset(fields) for node, fields in found.nodes.items()},
        meta=frozenset(found.meta),
        whole_item=found.whole_item,
    )
