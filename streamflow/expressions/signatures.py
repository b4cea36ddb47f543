"""What a function is: signatures, and for each what both backends do. Functions are data; see functions/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from streamflow.expressions.kinds import Result, result_type
from streamflow.model.types import Type

# A kernel takes a Series per argument, or the plain value of a constant one, and returns values and error codes.
Argument = Any  # pl.Series, or the Python representation of a constant
Outcome = tuple[pl.Series, pl.Series | None]
Kernel = Callable[[Sequence[Argument]], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Implementation:
    """One meaning, written once or more.

    `py` takes Python values (never null when the signature is strict) and returns one or raises Fail: it is the
    definition. `inline` is the same as Python source, `{0}` being the first argument. `expr` takes polars expressions;
    `kernel` takes series. Without both, the columnar backend applies `py` to the column's values.
    """

    py: Callable[..., Any]
    inline: str = ""
    expr: Callable[..., pl.Expr] | None = None
    kernel: Kernel | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """A signature chosen for arguments: what they are cast to, what comes out, and how."""

    params: tuple[Type, ...]
    type: Type
    does: Implementation
    strict: bool = True
    fails: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signature:
    """Parameter specifications (see kinds.accept), the result, and the implementation, or what makes it from types.

    `optional` are trailing parameters with their defaults; `variadic` is the specification of any number of further
    ones. `strict`: null when any argument is null. `fails`: some values raise. `nullable`: may give null by itself.
    """

    params: tuple[str, ...]
    result: Result
    does: Implementation | Callable[[Sequence[Type]], Implementation]
    optional: tuple[tuple[str, object], ...] = ()
    variadic: str = ""
    strict: bool = True
    fails: bool = False
    nullable: bool = False
    alike: bool = False  # the arguments are widened to their common type first

    def specs(self, count: int) -> list[str] | None:
        """One specification per argument, or None when `count` arguments are too few or too many."""
        most = len(self.params) + len(self.optional)
        if count < len(self.params) or (count > most and not self.variadic):
            return None
        found = [*self.params, *(spec for spec, _ in self.optional)][:count]
        return found + [self.variadic] * (count - len(found))

    def defaults(self, count: int) -> list[tuple[str, object]]:
        """Specification and value of the optional parameters that `count` arguments leave out."""
        return list(self.optional[max(count - len(self.params), 0) :])

    def bind(self, params: Sequence[Type]) -> Bound:
        does = self.does if isinstance(self.does, Implementation) else self.does(params)
        result = result_type(self.result, params, strict=self.strict, nullable=self.nullable)
        return Bound(params=tuple(params), type=result, does=does, strict=self.strict, fails=self.fails)

    def spelled(self, name: str) -> str:
        """`name(string, long, [string])` for documents and messages."""
        parts = [*self.params, *(f"[{spec}]" for spec, _ in self.optional)]
        return f"{name}({', '.join(parts + ([f'{self.variadic}, …'] if self.variadic else []))})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Function:
    """A function of the language. `examples` are (expression, expression that has the same value, or `error: code`)."""

    name: str
    doc: str
    signatures: tuple[Signature, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    # For `any` arguments of overloaded functions that must be fast; otherwise the signature is chosen per value.
    dynamic: Callable[..., Any] | None = None
    special: str = ""  # spelling of functions that the checker builds itself: if, coalesce, try, case


def function(
    name: str,
    doc: str,
    params: str,
    result: Result,
    py: Callable[..., Any] | None = None,
    *examples: tuple[str, str],
    inline: str = "",
    expr: Callable[..., pl.Expr] | None = None,
    kernel: Kernel | None = None,
    make: Callable[[Sequence[Type]], Implementation] | None = None,
    optional: tuple[tuple[str, object], ...] = (),
    variadic: str = "",
    strict: bool = True,
    fails: bool = False,
    nullable: bool = False,
    aliases: tuple[str, ...] = (),
) -> Function:
    """A function of one signature; `params` are specifications separated by spaces."""
    return Function(
        name=name,
        doc=doc,
        examples=examples,
        aliases=aliases,
        signatures=(
            signature(
                params, result, py, inline=inline, expr=expr, kernel=kernel, make=make, optional=optional,
                variadic=variadic, strict=strict, fails=fails, nullable=nullable,
            ),
        ),
    )  # fmt: skip


def signature(
    params: str,
    result: Result,
    py: Callable[..., Any] | None = None,
    *,
    inline: str = "",
    expr: Callable[..., pl.Expr] | None = None,
    kernel: Kernel | None = None,
    make: Callable[[Sequence[Type]], Implementation] | None = None,
    optional: tuple[tuple[str, object], ...] = (),
    variadic: str = "",
    strict: bool = True,
    fails: bool = False,
    nullable: bool = False,
    alike: bool = False,
) -> Signature:
    """A signature; see `Signature` and `Implementation` for the words."""
    if make is None:
        assert py is not None
        does: Any = Implementation(py=py, inline=inline, expr=expr, kernel=kernel)
    else:
        does = make
    return Signature(
        params=tuple(params.split()), result=result, does=does, optional=optional, variadic=variadic, strict=strict,
        fails=fails, nullable=nullable, alike=alike,
    )  # fmt: skip
