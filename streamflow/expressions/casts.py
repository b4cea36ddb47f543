"""Implicit conversions: what the checker inserts between a value's type and the type that is wanted there."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import polars as pl

from streamflow.expressions.calendar import fits
from streamflow.expressions.json_values import jsonify, narrow
from streamflow.expressions.signatures import Bound, Implementation
from streamflow.model.types import ANY, Type, polars_dtype

_INTO_DOUBLE = frozenset(("int", "long", "float", "decimal"))


def same(a: Type, b: Type) -> bool:
    """Whether values of `a` are values of `b` without conversion; null marks aside, also inside."""
    if a.kind != b.kind:
        return False
    if a.kind in ("array", "map"):
        assert a.element is not None
        assert b.element is not None
        return same(a.element, b.element)
    if a.kind == "record":
        return len(a.fields) == len(b.fields) and all(
            x.name == y.name and same(x.type, y.type) for x, y in zip(a.fields, b.fields, strict=True)
        )
    if a.kind == "any":
        return True
    return polars_dtype(a) == polars_dtype(b) and (a.kind != "enum" or set(a.symbols) <= set(b.symbols))


def widening(given: Type, wanted: Type) -> Bound | None:
    """The conversion that loses nothing, or None when there is none. `same` types need none and are not asked for."""
    target = replace(wanted, nullable=given.nullable) if wanted.kind != "any" else ANY
    if given.kind == "any":
        return None
    if wanted.kind == "any":
        py = jsonify(given) or _identity
        return _bound(given, ANY, Implementation(py=py, inline="{0}" if py is _identity else ""))
    if given.kind == "null":
        return _bound(given, wanted.optional(), _cast(wanted, _identity))
    plain = _plain(given, wanted)
    if plain is not None:
        return _bound(given, target, plain)
    if given.kind == wanted.kind and given.kind in ("timestamp", "local") and (given.unit, wanted.unit) == ("ms", "us"):
        return _bound(given, target, Implementation(py=lambda v: fits(v * 1_000), kernel=_micros(wanted)), fails=True)
    if given.kind == wanted.kind and given.kind in ("array", "map", "record"):
        return _inside(given, wanted, target)
    return None


def narrowing(wanted: Type, code: int) -> Bound:
    """The run-time check that turns an `any` value into a typed one."""
    target = wanted.optional()
    return _bound(ANY, target, Implementation(py=narrow(wanted.required(), code)), fails=True)


def rounding(wanted: Type) -> Bound:
    """double to float, where a float is asked for: numbers in expressions are doubles."""
    return _bound(replace(wanted, kind="double"), wanted, _cast(wanted, _as_float))


def _plain(given: Type, wanted: Type) -> Implementation | None:
    if given.kind == "int" and wanted.kind == "long":
        return _cast(wanted, _identity)
    if given.kind == "float" and wanted.kind == "double":
        return _cast(wanted, _identity)
    if given.kind == "decimal" and wanted.kind == "double":
        power = 10**given.scale
        return Implementation(py=lambda v: v / power)
    if given.kind in _INTO_DOUBLE and wanted.kind == "double":
        return Implementation(py=float, inline="float({0})", expr=lambda e: e.cast(pl.Float64))
    if given.is_text and wanted.kind == "string":
        return _cast(wanted, _identity)
    if given.kind == "fixed" and wanted.kind == "bytes":
        return _cast(wanted, _identity)
    if given.kind == wanted.kind == "time":
        return _cast(wanted, _identity)
    if given.kind == wanted.kind == "decimal" and wanted.scale >= given.scale:
        if wanted.precision - wanted.scale >= given.precision - given.scale:
            power = 10 ** (wanted.scale - given.scale)
            return Implementation(py=lambda v: v * power)
        return None
    return None


def _inside(given: Type, wanted: Type, target: Type) -> Bound | None:
    """Conversion of what an array, map or record holds."""
    if given.kind == "record":
        if {f.name for f in given.fields} != {f.name for f in wanted.fields}:
            return None
        pairs = [(f.name, _part(given.field(f.name), f.type)) for f in wanted.fields]
        if any(p is None for _, p in pairs):
            return None
        parts = {n: p for n, p in pairs if p is not None}
        py: Any = lambda v: {n: None if v[n] is None else p.does.py(v[n]) for n, p in parts.items()}  # noqa: E731
        return _bound(given, target, Implementation(py=py), fails=any(p.fails for p in parts.values()))
    assert given.element is not None
    assert wanted.element is not None
    inner = _between(given.element, wanted.element)
    if inner is None:
        return None
    convert = inner.does.py
    if given.kind == "array":
        py = lambda v: [None if x is None else convert(x) for x in v]  # noqa: E731
    else:
        py = lambda v: {k: None if x is None else convert(x) for k, x in v.items()}  # noqa: E731
    expr = (lambda e: e.cast(polars_dtype(target))) if inner.does.expr is not None and given.kind == "array" else None
    return _bound(given, target, Implementation(py=py, expr=expr), fails=inner.fails)


def _part(given: Any, wanted: Type) -> Bound | None:
    return None if given is None else _between(given.type, wanted)


def _between(given: Type, wanted: Type) -> Bound | None:
    if same(given, wanted):
        return _bound(given, given, _cast(wanted, _identity))
    return widening(given, wanted)


def _cast(wanted: Type, py: Any) -> Implementation:
    dtype = polars_dtype(wanted)
    return Implementation(py=py, inline="{0}" if py is _identity else "", expr=lambda e: e.cast(dtype))


def _bound(given: Type, result: Type, does: Implementation, *, fails: bool = False) -> Bound:
    return Bound(params=(given,), type=result, does=does, fails=fails)


def _identity(value: Any) -> Any:
    return value


def _as_float(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]  # type: ignore[no-any-return]
    except OverflowError:
        return math.copysign(math.inf, value)


def _micros(wanted: Type) -> Any:
    from streamflow.expressions.columns import long_kernel

    multiply = long_kernel(lambda a, b: a * b, lambda a, b, c, d: [a * c, b * d])

    def kernel(arguments: Any) -> Any:
        values, errors = multiply([arguments[0].to_physical(), 1_000])
        return values.cast(polars_dtype(wanted)), errors

    return kernel
