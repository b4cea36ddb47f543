"""The columnar backend: a typed tree becomes polars expressions, and kernels where a value can fail.

What cannot fail is one polars expression, however large. Where values can fail, a kernel computes values and error
codes from materialised columns (registers). Work is arranged in levels: each runs one `with_columns` for its
expressions, then its kernels, over registers of earlier levels. Error columns exist only for kernels that met an error
in this very frame.

A failed row holds null (or nothing sensible) in its register; the error codes mask it at the end, and `and`, `or`,
`if`, `coalesce` and `try` decide row by row whose error codes count.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from streamflow.expressions.columns import first_error, null_where, python_kernel
from streamflow.expressions.signatures import Kernel
from streamflow.expressions.tree import (
    Call,
    Coalesce,
    Column,
    Const,
    Failed,
    If,
    Logic,
    MakeList,
    MakeRecord,
    Member,
    Node,
    Try,
)  # fmt: skip
from streamflow.expressions.values import literal
from streamflow.model.types import polars_dtype

_INLINE_SIZE_MAX = 8  # leaves of an expression that may be repeated in another before it gets a register

Errors = dict[str, pl.Series | None]
Decide = Callable[[pl.DataFrame, Errors], pl.Series | None]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A value: an expression over registers of levels below `level`; of the columns `errors` the first code counts."""

    expr: pl.Expr
    level: int = 0
    errors: tuple[str, ...] = ()
    size: int = 1
    column: str = ""  # set when the expression is just this column
    constant: Const | None = None


@dataclass(frozen=True, slots=True)
class _KernelStep:
    register: str
    kernel: Kernel
    arguments: tuple[tuple[bool, Any], ...]  # (is a column, its name or the constant)


@dataclass(frozen=True, slots=True)
class _DecideStep:
    """Computes an error column from others; see Logic, If, Coalesce, Try."""

    register: str
    decide: Decide


@dataclass(frozen=True, slots=True)
class _MaskStep:
    """A boolean column: true where one of `errors` has a code."""

    register: str
    errors: tuple[str, ...]


_Step = _KernelStep | _DecideStep | _MaskStep


@dataclass(slots=True)
class _Level:
    exprs: list[pl.Expr] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)


class PolarsProgram:
    """Several expressions compiled together: common parts of one expression are computed once."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._levels: list[_Level] = []
        self._count = 0
        self._lowered: dict[int, Lowered] = {}
        self._outputs = {name: self._lower(node) for name, node in nodes.items()}
        self._dtypes = {name: polars_dtype(node.type) for name, node in nodes.items()}
        self._keep = tuple(nodes.values())  # ids of nodes are keys of _lowered

    def run(self, frame: pl.DataFrame) -> dict[str, tuple[pl.Series, pl.Series | None]]:
        """Values and error codes by name. A failed row holds null."""
        errors: Errors = {}
        for level in self._levels:
            if level.exprs:
                frame = frame.with_columns(level.exprs)
            made: list[pl.Series] = []
            for step in level.steps:
                match step:
                    case _DecideStep():
                        errors[step.register] = step.decide(frame, errors)
                    case _MaskStep():
                        failed = _combined(step.errors, errors)
                        mask = pl.Series([False]).new_from_index(0, frame.height) if failed is None else failed != 0
                        made.append(mask.alias(step.register))
                    case _KernelStep():
                        arguments = [frame[value] if is_column else value for is_column, value in step.arguments]
                        values, errors[step.register] = step.kernel(arguments)
                        made.append(values.alias(step.register))
            if made:
                frame = frame.with_columns(made)
        found = frame.with_columns(o.expr.alias(f"\0{name}") for name, o in self._outputs.items())
        return {name: self._output(name, found[f"\0{name}"], errors) for name in self._outputs}

    def _output(self, name: str, values: pl.Series, errors: Errors) -> tuple[pl.Series, pl.Series | None]:
        if values.dtype != self._dtypes[name]:
            values = values.cast(self._dtypes[name])
        error = _combined(self._outputs[name].errors, errors)
        return (values, None) if error is None else (null_where(values, error != 0), error)

    # Lowering

    def _lower(self, node: Node) -> Lowered:
        if id(node) not in self._lowered:
            found = self._lower_new(node)
            if found.size > _INLINE_SIZE_MAX * 4:
                found = self._register(found)
            self._lowered[id(node)] = found
        return self._lowered[id(node)]

    def _lower_new(self, node: Node) -> Lowered:
        match node:
            case Const():
                return Lowered(literal(node.value, node.type), constant=node)
            case Column():
                return Lowered(pl.col(node.name), column=node.name)
            case Member():
                record = self._lower(node.record)
                return _derived(record.expr.struct.field(node.field), [record])
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case If():
                return self._if(node)
            case Coalesce():
                return self._coalesce(node)
            case Try():
                return self._try(node)
            case Failed():
                code = node.code
                register = self._decide(
                    0, lambda frame, _: pl.Series([code], dtype=pl.UInt8).new_from_index(0, frame.height)
                )
                return Lowered(pl.lit(None, dtype=polars_dtype(node.type)), level=1, errors=(register,))
            case MakeList():
                return self._list(node)
            case MakeRecord():
                parts = [self._lower(a) for a in node.args]
                fields = [p.expr.alias(n) for n, p in zip(node.names, parts, strict=True)]
                return _derived(pl.struct(fields), parts)

    def _call(self, node: Call) -> Lowered:
        parts = [self._lower(a) for a in node.args]
        does = node.bound.does
        if does.expr is not None and does.kernel is None:
            parts = [self._register(p) if p.size > _INLINE_SIZE_MAX else p for p in parts]
            return _derived(does.expr(*(p.expr for p in parts)), parts)
        kernel = does.kernel or python_kernel(does.py, node.bound.params, node.bound.type, strict=node.bound.strict)
        return self._kernel(kernel, parts)

    def _kernel(self, kernel: Kernel, parts: Sequence[Lowered]) -> Lowered:
        if all(p.constant is not None for p in parts):  # a kernel needs a column to know the height
            parts = [self._register(parts[0], always=True), *parts[1:]]
        parts = [p if p.constant is not None else self._register(p) for p in parts]
        arguments = tuple((False, p.constant.value) if p.constant is not None else (True, p.column) for p in parts)
        register, level = self._fresh(), max(p.level for p in parts)
        self._at(level).steps.append(_KernelStep(register, kernel, arguments))
        errors = tuple(dict.fromkeys(e for p in parts for e in p.errors))
        return Lowered(pl.col(register), level + 1, (*errors, register), column=register)

    def _logic(self, node: Logic) -> Lowered:
        parts = [self._lower(a) for a in node.args]
        combine = operator.and_ if node.word == "and" else operator.or_
        if not any(p.errors for p in parts[1:]):
            return _derived(functools.reduce(combine, (p.expr for p in parts)), parts)
        parts = [self._register(p, always=True) for p in parts]
        decided, names = node.word == "or", [p.column for p in parts]

        def decide(frame: pl.DataFrame, errors: Errors) -> pl.Series | None:
            # From right to left: what follows an argument counts only where it left the result open.
            result: pl.Series | None = None
            for part, name in zip(reversed(parts), reversed(names), strict=True):
                if result is not None:
                    result = _only(result, (frame[name] != decided).fill_null(True))
                result = first_error([_combined(part.errors, errors), result])
            return result

        return self._decided(functools.reduce(combine, (p.expr for p in parts)), parts, decide)

    def _if(self, node: If) -> Lowered:
        test, yes, no = parts = [self._lower(n) for n in (node.test, node.yes, node.no)]
        if not yes.errors and not no.errors:
            return _derived(pl.when(test.expr).then(yes.expr).otherwise(no.expr), parts)
        test = self._register(test, always=True)

        def decide(frame: pl.DataFrame, errors: Errors) -> pl.Series | None:
            taken = frame[test.column].fill_null(False)
            first = _only(_combined(yes.errors, errors), taken)
            second = _only(_combined(no.errors, errors), ~taken)
            return first_error([_combined(test.errors, errors), first, second])

        return self._decided(pl.when(test.expr).then(yes.expr).otherwise(no.expr), [test, yes, no], decide)

    def _coalesce(self, node: Coalesce) -> Lowered:
        parts = [self._lower(a) for a in node.args]
        if not any(p.errors for p in parts[1:]):
            parts = [self._register(p) if p.size > _INLINE_SIZE_MAX else p for p in parts]
            return _derived(_coalesced([p.expr for p in parts]), parts)
        parts = [self._register(p, always=True) for p in parts]

        def decide(frame: pl.DataFrame, errors: Errors) -> pl.Series | None:
            result: pl.Series | None = None
            for part in reversed(parts):
                own = _combined(part.errors, errors)
                if result is not None:
                    empty = frame[part.column].is_null()
                    result = _only(result, empty if own is None else empty & (own == 0))
                result = first_error([own, result])
            return result

        # A failed argument may hold a value in its register: it must not hide that nothing was found.
        return self._decided(_coalesced([p.expr for p in parts]), parts, decide)

    def _try(self, node: Try) -> Lowered:
        value, fallback = self._lower(node.value), self._lower(node.fallback)
        if not value.errors:
            return value
        value, fallback = self._register(value, always=True), self._register(fallback, always=True)
        level = max(value.level, fallback.level)

        def decide(frame: pl.DataFrame, errors: Errors) -> pl.Series | None:
            failed = _combined(value.errors, errors)
            return None if failed is None else _only(_combined(fallback.errors, errors), failed != 0)

        failed, register = self._fresh(), self._decide(level, decide)
        self._at(level).steps.append(_MaskStep(failed, value.errors))
        expr = pl.when(pl.col(failed)).then(fallback.expr).otherwise(value.expr)
        return Lowered(expr, level + 1, (register,), size=3)

    def _list(self, node: MakeList) -> Lowered:
        parts = [self._lower(a) for a in node.args]
        element = node.type.element
        assert element is not None
        if not parts:
            return self._lower(Const(node.type, []))
        if element.kind in ("bool", "int", "long", "float", "double", "string", "date", "timestamp", "local", "time"):
            return _derived(pl.concat_list([p.expr for p in parts]), parts)
        return self._kernel(
            python_kernel(lambda *v: list(v), [a.type for a in node.args], node.type, strict=False), parts
        )

    def _decided(self, expr: pl.Expr, parts: Sequence[Lowered], decide: Decide) -> Lowered:
        level = max(p.level for p in parts)
        register = self._decide(level, decide)
        return Lowered(expr, level + 1, (register,), size=sum(p.size for p in parts))

    def _decide(self, level: int, decide: Decide) -> str:
        register = self._fresh()
        self._at(level).steps.append(_DecideStep(register, decide))
        return register

    def _register(self, part: Lowered, *, always: bool = False) -> Lowered:
        """The value as a column of the working frame."""
        if part.column or (part.constant is not None and not always):
            return part
        register = self._fresh()
        self._at(part.level).exprs.append(part.expr.alias(register))
        return Lowered(pl.col(register), part.level + 1, part.errors, column=register)

    def _fresh(self) -> str:
        self._count += 1
        return f"\0{self._count}"

    def _at(self, level: int) -> _Level:
        while len(self._levels) <= level:
            self._levels.append(_Level())
        return self._levels[level]


def _derived(expr: pl.Expr, parts: Sequence[Lowered]) -> Lowered:
    """A value that fails exactly where one of its parts does."""
    return Lowered(
        expr,
        max((p.level for p in parts), default=0),
        tuple(dict.fromkeys(e for p in parts for e in p.errors)),
        sum(p.size for p in parts),
    )


def _coalesced(parts: Sequence[pl.Expr]) -> pl.Expr:
    # Not pl.coalesce: of an all-null column and a literal it makes one value, which then does not fit the frame.
    return functools.reduce(
        lambda found, part: pl.when(part.is_not_null()).then(part).otherwise(found), reversed(parts)
    )


def _combined(names: Sequence[str], errors: Errors) -> pl.Series | None:
    return first_error([errors[name] for name in names])


def _only(errors: pl.Series | None, rows: pl.Series) -> pl.Series | None:
    """Error codes in the rows where `rows` is true."""
    return None if errors is None else errors * rows.cast(pl.UInt8)
