"""Compiling expressions together, and running them: columnar where types are known, in Python where values are JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from streamflow.expressions.check import Checker
from streamflow.expressions.expected import expected
from streamflow.expressions.kinds import holds_any
from streamflow.expressions.limits import LAZY_DEPTH_MAX, TRY_DEPTH_MAX
from streamflow.expressions.parse import diagnostic, parse
from streamflow.expressions.polars_backend import PolarsProgram
from streamflow.expressions.problems import LIMIT_EXCEEDED, Problem
from streamflow.expressions.python_backend import compile_python
from streamflow.expressions.running import Runs, run_all
from streamflow.expressions.scope import Names
from streamflow.expressions.shaped import ShapedExpression
from streamflow.expressions.tree import Call, Coalesce, Column, If, Logic, MakeRecord, Member, Node, Try, children
from streamflow.model.batch import Parsed
from streamflow.model.types import ANY, PAYLOAD, Type
from streamflow.sdk.expression import Evaluated, Expression, Scope
from streamflow.sdk.places import Diagnostic

Backend = Literal["auto", "python"]
Columns = dict[str, tuple[pl.Series, pl.Series | None]]


@dataclass(frozen=True, slots=True)
class CompiledProjection:
    """A Projection (see sdk.expression): `trees` in order, each run by one of the backends."""

    types: Mapping[str, Type]
    columns: frozenset[str]
    trees: Mapping[str, Node]
    _typed: PolarsProgram | None
    _untyped: Mapping[str, Runs]

    def run(self, frame: pl.DataFrame, parsed: Parsed | None = None) -> Evaluated:
        """Evaluate over a frame. Never raises for what an item holds."""
        missing = self.columns.difference(frame.columns)
        if missing:
            raise pl.exceptions.ColumnNotFoundError(
                f"expressions read columns {sorted(missing)}; the frame has {frame.columns}"
            )
        found: Columns = run_all(self._untyped, frame, parsed)
        if self._typed is not None:
            found |= self._run_typed(self._typed, frame)
        # A frame without columns cannot say its height.
        values = pl.DataFrame([found[name][0].alias(name) for name in self.types], height=frame.height)
        errors = {name: error for name in self.types if (error := found[name][1]) is not None}
        return Evaluated(values, errors)

    def constant(self) -> tuple[list[object], dict[int, int]]:
        """Value and error code (by row 0) of a projection of one expression that reads nothing, compiled for Python."""
        (only,) = self._untyped.values()
        return only.once()

    def _run_typed(self, program: PolarsProgram, frame: pl.DataFrame) -> Columns:
        try:
            return program.run(frame)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            # polars refused the whole frame for what some row holds (it may even panic, which is a BaseException). The
            # Python backend has the same meaning and tells rows apart.
            names = [name for name in self.types if name not in self._untyped]
            return run_all({name: compile_python(self.trees[name]) for name in names}, frame)


def compile_trees(trees: Mapping[str, Node], prefer: Backend) -> CompiledProjection:
    """A projection of typed trees."""
    untyped = {n: t for n, t in trees.items() if prefer == "python" or needs_python(t)}
    typed = {n: t for n, t in trees.items() if n not in untyped}
    return CompiledProjection(
        types={name: tree.type for name, tree in trees.items()},
        columns=frozenset(column for tree in trees.values() for column in _columns(tree)),
        trees=trees,
        _typed=PolarsProgram(typed) if typed else None,
        _untyped={name: _compiled(tree, prefer) for name, tree in untyped.items()},
    )


def _compiled(tree: Node, prefer: Backend) -> Runs:
    general = compile_python(tree)
    return ShapedExpression(general) if prefer == "auto" and general.columns == (PAYLOAD,) else general


def check_tree(expression: Expression, names: Names, wanted: Type | None) -> tuple[Node | None, list[Diagnostic]]:
    """The typed tree of an expression, or what is wrong with it."""
    try:
        tree = Checker(parse(expression.text), names).check()
        _check_depth(tree)
        return (tree if wanted is None else expected(tree, wanted)), []
    except Problem as problem:
        return None, [diagnostic(expression, problem)]


def compile_projection(
    expressions: Mapping[str, Expression],
    scope: Scope,
    *,
    expect: Mapping[str, Type] | None = None,
    prefer: Backend = "auto",
) -> tuple[CompiledProjection | None, list[Diagnostic]]:
    """Type-check and compile expressions against one scope. The projection is None when anything is wrong."""
    names, trees, found = Names(scope), {}, []
    for name, expression in expressions.items():
        tree, diagnostics = check_tree(expression, names, (expect or {}).get(name))
        found += diagnostics
        if tree is not None:
            trees[name] = tree
    return (None if found else compile_trees(trees, prefer)), found


def typecheck(expression: Expression, scope: Scope, *, expect: Type | None = None) -> tuple[Type, list[Diagnostic]]:
    """The type of an expression; `any` when something is wrong."""
    tree, found = check_tree(expression, Names(scope), expect)
    return (ANY if tree is None else tree.type), found


def needs_python(tree: Node) -> bool:
    """Whether some part computes with JSON values. Handing one through as a column needs no Python."""
    return not (isinstance(tree, Column | Member) or _is_record_of_columns(tree)) and any(
        holds_any(node.type) or (isinstance(node, Call) and any(map(holds_any, node.bound.params)))
        for node in _distinct(tree)
    )


def _is_record_of_columns(tree: Node) -> bool:
    return isinstance(tree, MakeRecord) and tree.type.kind == "record" and all(isinstance(a, Column) for a in tree.args)


def _columns(tree: Node) -> set[str]:
    return {node.name for node in _distinct(tree) if isinstance(node, Column)}


def _distinct(tree: Node) -> list[Node]:
    """Every node once: parts that stand in several places are shared."""
    seen: dict[int, Node] = {}
    stack = [tree]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack.extend(children(node))
    return list(seen.values())


def _check_depth(tree: Node) -> None:
    """Conditions inside each other become blocks inside each other, of which Python allows a limited number."""
    _limit(tree, lambda n: isinstance(n, Logic | If | Coalesce | Try), LAZY_DEPTH_MAX, "conditions")
    _limit(tree, lambda n: isinstance(n, Try), TRY_DEPTH_MAX, "try(…)")


def _limit(tree: Node, counts: Callable[[Node], bool], most: int, what: str) -> None:
    depths: dict[int, int] = {}

    def depth(node: Node) -> int:
        if id(node) not in depths:
            depths[id(node)] = max(map(depth, children(node)), default=0) + counts(node)
        return depths[id(node)]

    if depth(tree) > most:
        raise Problem(
            0, LIMIT_EXCEEDED, f"more than {most} {what} are inside each other", "Use switch, or several nodes."
        )
