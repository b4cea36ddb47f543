"""Functions that evaluate only some of their arguments: coalesce, if_null, try, case, switch."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamflow.expressions.kinds import common, spelled
from streamflow.expressions.overloads import convert, optional_if
from streamflow.expressions.problems import TYPE_MISMATCH, WRONG_ARGUMENTS, Problem
from streamflow.expressions.signatures import Function
from streamflow.expressions.tree import Coalesce, Const, Node, Try
from streamflow.model.types import NULL, Type

if TYPE_CHECKING:
    from streamflow.expressions.check import Checker

_COUNTS = {"coalesce": (1, 100), "if_null": (2, 2), "try": (1, 2), "case": (2, 100), "switch": (3, 100)}


def special(checker: Checker, function: Function, args: Sequence[ast.expr], at: int) -> Node:
    """The node of a special function. Raises Problem."""
    least, most = _COUNTS[function.name]
    if not least <= len(args) <= most:
        raise Problem(
            at, WRONG_ARGUMENTS, f"{function.name} with {len(args)} arguments", f"It takes {function.special}."
        )
    if function.name == "case":
        return _case(checker, args, at)
    if function.name == "switch":
        return _switch(checker, args, at)
    nodes = [checker.infer(a) for a in args]
    if function.name == "try":
        fallback = nodes[1] if len(nodes) > 1 else Const(NULL, None)
        t = _common(function.name, [nodes[0], fallback], at)
        return Try(t, convert(nodes[0], t), convert(fallback, t))
    t = _common(function.name, nodes, at)
    return Coalesce(optional_if(t, nullable=all(n.type.nullable for n in nodes)), tuple(convert(n, t) for n in nodes))


def _case(checker: Checker, args: Sequence[ast.expr], at: int) -> Node:
    result: Node = checker.infer(args[-1]) if len(args) % 2 else Const(NULL, None)
    for i in range(len(args) // 2 * 2 - 2, -1, -2):
        result = checker.choose(checker.condition(args[i], "case"), checker.infer(args[i + 1]), result, at)
    return result


def _switch(checker: Checker, args: Sequence[ast.expr], at: int) -> Node:
    value, rest = checker.infer(args[0]), args[1:]
    result: Node = checker.infer(rest[-1]) if len(rest) % 2 else Const(NULL, None)
    for i in range(len(rest) // 2 * 2 - 2, -1, -2):
        test = checker.comparison("equal", "==", value, checker.infer(rest[i]), checker.at(rest[i]))
        result = checker.choose(test, checker.infer(rest[i + 1]), result, at)
    return result


def _common(name: str, nodes: Sequence[Node], at: int) -> Type:
    found = common([n.type for n in nodes])
    if found is None:
        raise Problem(
            at, TYPE_MISMATCH, f"{name}({spelled([n.type for n in nodes])}): the arguments have no common type",
            "Convert them, for example with string(…).",
        )  # fmt: skip
    return found
