"""Between typed values and JSON (`any`) values, on the Python side: `jsonify` out of types, `narrow` into them.

JSON has no dates, bytes or decimals: they become ISO 8601 text, base64 text and a double. The same texts are read back.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from streamflow.expressions import calendar
from streamflow.expressions.failure import Fail
from streamflow.expressions.limits import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN
from streamflow.model.types import Type, branch_names

Convert = Callable[[Any], Any]


@lru_cache(maxsize=512)
def jsonify(t: Type) -> Convert | None:
    """What makes a JSON value of a value of type `t`; None when it already is one."""
    match t.kind:
        case "bytes" | "fixed":
            return lambda v: base64.b64encode(v).decode()
        case "date":
            return calendar.date_text
        case "time":
            return calendar.time_text
        case "timestamp":
            return lambda v: calendar.timestamp_text(v, t.unit) + "Z"
        case "local":
            return lambda v: calendar.timestamp_text(v, t.unit)
        case "decimal":
            return lambda v: v / 10**t.scale
        case "array" | "map":
            assert t.element is not None
            inner = jsonify(t.element)
            if inner is None:
                return None
            if t.kind == "array":
                return lambda v: [None if x is None else inner(x) for x in v]
            return lambda v: {k: None if x is None else inner(x) for k, x in v.items()}
        case "record":
            parts = {f.name: jsonify(f.type) for f in t.fields}
            if not any(parts.values()):
                return None
            return lambda v: {n: v[n] if c is None or v[n] is None else c(v[n]) for n, c in parts.items()}
        case "union":
            branches = {n: jsonify(b) for n, b in zip(branch_names(t), t.branches, strict=True)}
            return lambda v: _branch(v, branches)
        case _:
            return None


def _branch(value: dict[str, Any], branches: dict[str, Convert | None]) -> Any:
    for name, convert in branches.items():
        inside = value.get(name)
        if inside is not None:
            return inside if convert is None else convert(inside)
    return None


@lru_cache(maxsize=512)
def narrow(t: Type, code: int) -> Convert:
    """What checks that a JSON value (never null) is of type `t`, and gives it as such; raises Fail(code)."""
    simple: dict[str, Convert] = {
        "bool": lambda v: v if type(v) is bool else _no(code),
        "string": lambda v: v if type(v) is str else _no(code),
        "uuid": lambda v: v if type(v) is str and len(v) == 36 else _no(code),
        "enum": lambda v: v if type(v) is str and v in t.symbols else _no(code),
        "long": lambda v: _whole(v, LONG_MIN, LONG_MAX, code),
        "int": lambda v: _whole(v, INT_MIN, INT_MAX, code),
        "double": lambda v: v if type(v) is float else float(v) if type(v) is int else _no(code),
        "float": lambda v: v if type(v) is float else float(v) if type(v) is int else _no(code),
        "any": lambda v: v,
        "null": lambda _v: _no(code),
        "union": lambda _v: _no(code),
    }
    if t.kind in simple:
        return simple[t.kind]
    if t.kind in ("date", "time", "timestamp", "local"):
        return lambda v: _temporal(v, t, code)
    if t.kind in ("bytes", "fixed"):
        return lambda v: _base64(v, t, code)
    if t.kind == "decimal":
        return lambda v: _decimal(v, t, code)
    if t.kind == "record":
        parts = {f.name: (narrow(f.type, code), f.type.nullable) for f in t.fields}
        return lambda v: (
            {n: _part(v.get(n), check, nullable, code) for n, (check, nullable) in parts.items()}
            if type(v) is dict
            else _no(code)
        )
    assert t.element is not None
    if t.element.kind == "any":
        wanted: type = list if t.kind == "array" else dict
        return lambda v: v if type(v) is wanted else _no(code)
    element, nullable = narrow(t.element, code), t.element.nullable
    if t.kind == "array":
        return lambda v: [_part(x, element, nullable, code) for x in v] if type(v) is list else _no(code)
    return lambda v: {k: _part(x, element, nullable, code) for k, x in v.items()} if type(v) is dict else _no(code)


def _no(code: int) -> Any:
    raise Fail(code)


def _part(value: Any, check: Convert, nullable: bool, code: int) -> Any:
    if value is None:
        return None if nullable else _no(code)
    return check(value)


def _whole(value: Any, least: int, most: int, code: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and least <= value <= most else _no(code)


def _temporal(value: Any, t: Type, code: int) -> int:
    if type(value) is not str:
        _no(code)
    try:
        return calendar.parse_iso(value, t)
    except Fail:
        raise Fail(code) from None


def _base64(value: Any, t: Type, code: int) -> bytes:
    if type(value) is not str:
        _no(code)
    try:
        found = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Fail(code) from None
    return found if t.kind == "bytes" or len(found) == t.size_bytes else _no(code)


def _decimal(value: Any, t: Type, code: int) -> int:
    if type(value) is int:
        unscaled = value * 10**t.scale
    elif type(value) is float and abs(value) < 10**t.precision:
        unscaled = round(value * 10**t.scale)
    else:
        _no(code)
    return unscaled if abs(unscaled) < 10**t.precision else _no(code)  # type: ignore[no-any-return]
