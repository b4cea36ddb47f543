"""Turning an expression into the type that is wanted where it stands: a field, a condition, a key."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from streamflow.expressions import calendar, casts
from streamflow.expressions.failure import BAD_CAST, Fail
from streamflow.expressions.json_values import narrow
from streamflow.expressions.kinds import TEMPORAL, short
from streamflow.expressions.limits import INT_MAX, INT_MIN
from streamflow.expressions.overloads import Mismatch, convert, fold
from streamflow.expressions.problems import TYPE_MISMATCH, Problem
from streamflow.expressions.signatures import Bound, Implementation
from streamflow.expressions.tree import Call, Coalesce, Const, Failed, If, MakeList, MakeRecord, Node, Try
from streamflow.model.types import Type


def expected(node: Node, wanted: Type) -> Node:
    """`node` as `wanted` (its null mark aside). Raises Problem when it cannot become that."""
    found = _shaped(node, wanted)
    if found is not None:
        return found
    raise Problem(
        0, TYPE_MISMATCH, f"the expression is of type {short(node.type)} where {short(wanted)} is wanted",
        _mend(node.type, wanted),
    )  # fmt: skip


def _shaped(node: Node, wanted: Type) -> Node | None:
    """Literals and branches are converted where they stand, so that each constant may take the wanted type."""
    if casts.same(node.type, wanted):
        return node
    match node:
        case Const():
            constant = _constant(node, wanted)
            if constant is not None:
                return constant
        case If():
            yes, no = _shaped(node.yes, wanted), _shaped(node.no, wanted)
            if yes is not None and no is not None:
                return If(replace(wanted, nullable=node.type.nullable), node.test, yes, no)
        case Try():
            value, fallback = _shaped(node.value, wanted), _shaped(node.fallback, wanted)
            if value is not None and fallback is not None:
                return Try(replace(wanted, nullable=node.type.nullable), value, fallback)
        case Coalesce():
            args = [_shaped(a, wanted) for a in node.args]
            if all(a is not None for a in args):
                t = replace(wanted, nullable=node.type.nullable)
                return Coalesce(t, tuple(a for a in args if a is not None))
        case MakeRecord() if wanted.kind == "record" and set(node.names) == {f.name for f in wanted.fields}:
            parts = [_shaped(node.args[node.names.index(f.name)], f.type) for f in wanted.fields]
            if all(p is not None for p in parts):
                names = tuple(f.name for f in wanted.fields)
                return MakeRecord(wanted.required(), names, tuple(p for p in parts if p is not None))
        case MakeList() if wanted.kind == "array" and wanted.element is not None:
            items = [_shaped(a, wanted.element) for a in node.args]
            if all(i is not None for i in items):
                return MakeList(wanted.required(), tuple(i for i in items if i is not None))
        case _:
            pass
    return _converted(node, wanted)


def _converted(node: Node, wanted: Type) -> Node | None:
    given = node.type
    if wanted.kind == "float" and given.kind in ("double", "long", "int"):
        try:
            node = convert(node, replace(wanted, kind="double"))
        except Mismatch:
            return None
        return fold(
            Call(
                replace(wanted, nullable=given.nullable),
                "convert",
                casts.rounding(replace(wanted, nullable=given.nullable)),
                (node,),
            )
        )
    if given.is_text and wanted.kind in ("enum", "uuid"):
        return _checked(node, wanted, narrow(wanted.required(), BAD_CAST))
    if given.kind == "bytes" and wanted.kind == "fixed":
        size = wanted.size_bytes
        return _checked(node, wanted, lambda v: v if len(v) == size else _fail())
    try:
        return convert(node, wanted, code=BAD_CAST)
    except Mismatch:
        return None


def _fail() -> Any:
    raise Fail(BAD_CAST)


def _checked(node: Node, wanted: Type, py: Any) -> Node | None:
    t = replace(wanted, nullable=node.type.nullable)
    bound = Bound(params=(node.type,), type=t, does=Implementation(py=py), fails=True)
    found = fold(Call(t, "convert", bound, (node,)))
    return None if isinstance(found, Failed) else found  # a constant that never fits


def _constant(node: Const, wanted: Type) -> Const | None:
    """A constant of a narrower type, when its value fits."""
    value = node.value
    if value is None:
        return Const(wanted.optional(), None)
    if wanted.kind == "int" and type(value) is int and node.type.kind == "long":
        return Const(wanted.required(), value) if INT_MIN <= value <= INT_MAX else None
    if wanted.kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return (
            Const(wanted.required(), struct.unpack("<f", struct.pack("<f", float(value)))[0])
            if abs(value) < 3.4e38
            else None
        )
    if wanted.kind in ("enum", "uuid") and isinstance(value, str):
        fits = value in wanted.symbols if wanted.kind == "enum" else len(value) == 36
        return Const(wanted.required(), value) if fits else None
    if wanted.kind == "decimal" and type(value) is int and node.type.kind == "long":
        unscaled = value * 10**wanted.scale
        return Const(wanted.required(), unscaled) if abs(unscaled) < 10**wanted.precision else None
    if wanted.kind in TEMPORAL and isinstance(value, str) and node.type.is_text:
        try:
            return Const(wanted.required(), calendar.parse_iso(value, wanted))
        except Fail:
            return None
    return None


def _mend(given: Type, wanted: Type) -> str:
    if wanted.kind == "bool":
        return "Compare it, or use bool(…), is_empty(…) or is_not_null(…)."
    function = {
        "string": "string",
        "long": "long",
        "int": "int",
        "double": "double",
        "bytes": "bytes",
        "date": "date",
        "timestamp": "timestamp",
    }
    name = function.get(wanted.kind)
    if wanted.kind == "enum":
        return f"It is one of {', '.join(wanted.symbols[:8])}."
    return f"Convert it with {name}(…)." if name and given.kind != wanted.kind else ""
