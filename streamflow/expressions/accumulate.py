"""Expressions over what came before: `accumulator` names what the expression gave for the row before of the same group.

There is no columnar form for this: each value depends on the one before. One generated loop goes over all rows of a
step in order of arrival and keeps the value of each group, at the speed of the Python backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from streamflow.expressions.check import Checker
from streamflow.expressions.columns import error_column
from streamflow.expressions.expected import expected
from streamflow.expressions.failure import TOO_LARGE, Fail
from streamflow.expressions.kinds import common, short
from streamflow.expressions.names import Step
from streamflow.expressions.parse import diagnostic, parse
from streamflow.expressions.problems import TYPE_MISMATCH, Problem, nearest
from streamflow.expressions.python_backend import compile_python
from streamflow.expressions.python_code import Emitter
from streamflow.expressions.scope import Names
from streamflow.expressions.tree import Column, Node
from streamflow.expressions.values import UNREADABLE, from_python, to_python
from streamflow.model.types import NULL, Type, record_of
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.places import Diagnostic

ACCUMULATOR: Final = "accumulator"
OTHER: Final = "other"
_COLUMN: Final = "@:accumulator"
_ROUNDS_MAX: Final = 8  # of finding a type that both the initial value and what the expression makes of it have


class _Names(Names):
    """The names of a scope, and `accumulator`, which hides a field of that name (`item.accumulator` is the field)."""

    def __init__(self, scope: Scope, of: Type) -> None:
        super().__init__(scope)
        self._of = of

    def field(self, step: Step, *, loose: bool = False) -> Node:
        if step.key == ACCUMULATOR and not loose:
            return Column(self._of, _COLUMN)
        try:
            return super().field(step, loose=loose)
        except Problem as problem:
            mend = nearest(step.key, [ACCUMULATOR]) or problem.mend
            raise Problem(problem.offset, problem.code, problem.message, mend) from None


@dataclass(frozen=True, slots=True)
class CompiledAccumulation:
    """An Accumulation (see sdk.expression): one loop over rows."""

    type: Type
    _columns: Mapping[str, Type]
    _loop: Callable[..., tuple[list[Any], dict[int, int]]]
    _initial: Any

    @property
    def columns(self) -> frozenset[str]:
        """Frame columns that are read."""
        return frozenset(self._columns)

    def run(
        self, frame: pl.DataFrame, group: Sequence[int], fresh: Sequence[bool], before: pl.Series
    ) -> tuple[pl.Series, pl.Series | None, pl.Series]:
        columns = [to_python(frame[name], of) for name, of in self._columns.items()]
        state = to_python(before, self.type)
        values, codes = self._loop(group, fresh, state, self._initial, *columns)
        return from_python(values, self.type), error_column(codes, frame.height), from_python(state, self.type)


def accumulation(
    initial: Expression, expression: Expression, scope: Scope
) -> tuple[CompiledAccumulation | None, list[tuple[Expression, Diagnostic]]]:
    """Type-check and compile over the items of `scope`; None with findings, each with the expression it is of.

    The accumulator's type is the one that `initial` and what the expression makes of it widen to. `initial` may name
    `vars` only.
    """
    at = initial
    try:
        first = Checker(parse(initial.text), Names(Scope(item=Type(kind="record"), vars=scope.vars))).check()
        at, of = expression, first.type
        for _ in range(_ROUNDS_MAX):
            made = Checker(parse(expression.text), _Names(scope, of)).check()
            wider = common([of, made.type])
            if wider is None:
                message = f"the accumulator begins as {short(of)}, and becomes {short(made.type)}"
                raise Problem(0, TYPE_MISMATCH, message, "give `initial` the type of what the expression makes.")
            if wider == of:
                break
            of = wider
        if of == NULL:
            raise Problem(0, TYPE_MISMATCH, "the accumulator is never anything but null", "give `initial` a value.")
        body = expected(made, of)
        at = initial
        values, codes = compile_python(expected(first, of)).once()
        if codes:
            raise Problem(0, TYPE_MISMATCH, "the value cannot be computed", "write a constant that can.")
    except Problem as problem:
        return None, [(at, diagnostic(at, problem))]
    return _compiled(body, of, values[0]), []


def combination(
    expression: Expression, of: Type, scope: Scope
) -> tuple[CompiledAccumulation | None, list[tuple[Expression, Diagnostic]]]:
    """`expression` over two accumulators of type `of`: `accumulator`, and `other`, which came later. Runs over rows
    with the one column `other`.
    """
    try:
        names = _Names(Scope(item=record_of({OTHER: of}), vars=scope.vars), of)
        made = _compiled(expected(Checker(parse(expression.text), names).check(), of), of, None)
        if made.columns - {OTHER}:
            message = "what two accumulators come to does not depend on an item"
            raise Problem(0, TYPE_MISMATCH, message, "name `accumulator`, `other` and `vars` only.")
    except Problem as problem:
        return None, [(expression, diagnostic(expression, problem))]
    return made, []


def _compiled(body: Node, of: Type, initial: Any) -> CompiledAccumulation:
    emitter = Emitter()
    atom, _ = emitter.emit(body)
    before = emitter.columns.get(_COLUMN, "_unread")
    columns = {name: emitter.types[name] for name in emitter.columns if name != _COLUMN}
    read = [emitter.columns[name] for name in columns]
    source = "\n".join(
        [
            f"def loop(G, F, state, initial{''.join(', C' + v for v in read)}):",
            " out = []; push = out.append; codes = {}",
            f" for {', '.join(['group', 'fresh', *read])} in zip({', '.join(['G', 'F', *('C' + v for v in read)])}):",
            "  if fresh: state[group] = initial",
            f"  {before} = state[group]",
            "  try:",
            *emitter.lines,
            f"   state[group] = {atom}; push({atom})",
            "  except Fail as fail: codes[len(out)] = fail.code; push(None)",
            f"  except RecursionError: codes[len(out)] = {TOO_LARGE}; push(None)",
            " return out, codes",
        ]
    )
    scope: dict[str, Any] = {"Fail": Fail, "UNREADABLE": UNREADABLE, **emitter.bound}
    exec(compile(source, "<accumulation>", "exec"), scope)  # noqa: S102 - our own code, as in python_backend
    return CompiledAccumulation(of, columns, scope["loop"], initial)
