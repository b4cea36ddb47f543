"""Conversions that the writer of an expression asks for, and questions about types."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from streamflow.expressions import calendar
from streamflow.expressions.columns import bounds, errors_where, python_kernel
from streamflow.expressions.failure import BAD_CAST, Fail
from streamflow.expressions.functions.encoding import text_of
from streamflow.expressions.json_values import jsonify
from streamflow.expressions.limits import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN
from streamflow.expressions.signatures import Argument, Function, Implementation, Outcome, function, signature
from streamflow.expressions.values import json_text
from streamflow.model.types import DATE, DOUBLE, LONG, STRING, TIMESTAMP_MS, Type

TITLE = "Conversion"
INTRO = "A value that cannot be converted fails with bad_cast; `try(expression, default)` catches that."

_LONG = re.compile(r"[+-]?[0-9]{1,40}")
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE
)


def _ranged(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise Fail(BAD_CAST)
    return value


def _text_to_long(text: str) -> int:
    text = text.strip()
    return _ranged(int(text), LONG_MIN, LONG_MAX) if _LONG.fullmatch(text) else _bad()


def _bad() -> Any:
    raise Fail(BAD_CAST)


def _double_to_long(value: float) -> int:
    # NaN and infinities fail both comparisons.
    return int(value) if -9.3e18 < value < 9.3e18 and LONG_MIN <= int(value) <= LONG_MAX else _bad()


def _text_to_double(text: str) -> float:
    text = text.strip()
    return float(text) if len(text) <= 400 and _DOUBLE.fullmatch(text) else _bad()


def _simple_texts(pattern: str, dtype: pl.DataType, py: Callable[[str], Any], t: Type) -> Callable[..., Outcome]:
    """Plain numerals by polars, whatever else by the Python definition."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        values: pl.Series = arguments[0]
        if values.str.contains(pattern).all():
            return values.cast(dtype, strict=False), None
        return python_kernel(py, [STRING], t, strict=True)(arguments)  # type: ignore[no-any-return]

    return kernel


def _double_kernel(arguments: Sequence[Argument]) -> Outcome:
    values: pl.Series = arguments[0]
    found = bounds(values)
    if found is None or (found[0] > -9e18 and found[1] < 9e18 and not values.is_nan().any()):
        return values.cast(pl.Int64), None
    return python_kernel(_double_to_long, [DOUBLE], LONG, strict=True)(arguments)  # type: ignore[no-any-return]


def _int_kernel(arguments: Sequence[Argument]) -> Outcome:
    values: pl.Series = arguments[0]
    cast = values.cast(pl.Int32, strict=False)
    return cast, errors_where(cast.is_null() & values.is_not_null(), BAD_CAST)


def _as_int(how: Callable[[Any], int]) -> Callable[[Any], int]:
    return lambda value: _ranged(how(value), INT_MIN, INT_MAX)


def _text_to_bool(text: str) -> bool:
    found = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}.get(text.strip().lower())
    return _bad() if found is None else found


def bool_text(value: bool) -> str:
    return "true" if value else "false"


def text(value: Any) -> str:
    """The text of a JSON value: texts as they are, numbers as Python writes them, lists and objects as JSON."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return bool_text(value)
    if kind is int or kind is float:
        return repr(value)
    return json_text(value).decode()


def _decimal_text(types: Sequence[Type]) -> Implementation:
    scale = types[0].scale

    def py(value: int) -> str:
        digits = str(abs(value)).rjust(scale + 1, "0")
        return ("-" if value < 0 else "") + (f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits)

    return Implementation(py=py)


def _structure_text(types: Sequence[Type]) -> Implementation:
    convert = jsonify(types[0])
    return Implementation(py=lambda v: text(v if convert is None else convert(v)))


def _iso(types: Sequence[Type]) -> Implementation:
    convert = jsonify(types[0])
    assert convert is not None
    return Implementation(py=convert)


def _day(types: Sequence[Type]) -> Implementation:
    per_day = calendar.PER_SECOND[types[0].unit] * calendar.SECONDS_PER_DAY

    def py(value: int) -> int:
        days = value // per_day
        calendar.civil(days)
        return days

    return Implementation(py=py)


def _midnight(days: int) -> int:
    calendar.civil(days)
    return days * calendar.SECONDS_PER_DAY * 1_000


def type_name(value: Any) -> str:
    """The kind of a JSON value."""
    return {type(None): "null", bool: "bool", int: "long", float: "double", str: "string", list: "array"}.get(
        type(value), "record"
    )


def _typeof(types: Sequence[Type]) -> Implementation:
    if types[0].kind == "any":
        return Implementation(py=type_name)
    kind = types[0].kind
    return Implementation(py=lambda v: "null" if v is None else kind)


_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="long",
        doc="A 64-bit whole number: fractions are cut off, texts read, true is 1.",
        signatures=(
            signature("long", "long", lambda v: v, inline="{0}", expr=lambda e: e),
            signature("double", "long", _double_to_long, fails=True, kernel=_double_kernel),
            signature(
                "string",
                "long",
                _text_to_long,
                fails=True,
                kernel=_simple_texts(r"^-?[0-9]{1,18}$", pl.Int64(), _text_to_long, LONG),
            ),
            signature("bool", "long", int, inline="int({0})", expr=lambda e: e.cast(pl.Int64)),
        ),
        examples=(('long("42")', "42"), ("long(-2.9)", "-2"), ('long("4x")', "error: bad_cast")),
    ),
    Function(
        name="int",
        doc="A 32-bit whole number, as `long`; what does not fit fails with bad_cast.",
        signatures=(
            signature("long", lambda t: Type(kind="int"), _as_int(lambda v: v), fails=True, kernel=_int_kernel),
            signature("double", lambda t: Type(kind="int"), _as_int(_double_to_long), fails=True),
            signature("string", lambda t: Type(kind="int"), _as_int(_text_to_long), fails=True),
            signature("bool", lambda t: Type(kind="int"), int, inline="int({0})", expr=lambda e: e.cast(pl.Int32)),
        ),
        examples=(('int("7")', "7"), ("int(3000000000)", "error: bad_cast")),
    ),
    Function(
        name="double",
        doc="A double: of a number, of text (also `nan`, `inf`), true is 1.",
        signatures=(
            signature("double", "double", lambda v: v, inline="{0}", expr=lambda e: e),
            signature(
                "string",
                "double",
                _text_to_double,
                fails=True,
                kernel=_simple_texts(r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$", pl.Float64(), _text_to_double, DOUBLE),
            ),
            signature("bool", "double", float, inline="float({0})", expr=lambda e: e.cast(pl.Float64)),
        ),
        examples=(('double("2.5")', "2.5"), ("double(2)", "2.0")),
        aliases=("float", "number"),
    ),
    Function(
        name="string",
        doc="Text of a value: `true`, `12`, `0.5`, ISO 8601 dates; bytes as UTF-8; lists and records as JSON.",
        signatures=(
            signature("string", "string", lambda v: v, inline="{0}", expr=lambda e: e),
            signature("long", "string", str, inline="str({0})", expr=lambda e: e.cast(pl.String)),
            signature("bool", "string", bool_text, expr=lambda e: e.cast(pl.String)),
            signature("decimal", "string", make=_decimal_text),
            signature("double", "string", repr),
            signature("bytes", "string", text_of, fails=True),
            *(signature(k, "string", make=_iso, fails=True) for k in ("date", "time", "timestamp", "local")),
            *(signature(k, "string", make=_structure_text, fails=True) for k in ("array", "map", "record", "any")),
        ),
        examples=(("string(12)", '"12"'), ("string(0.5)", '"0.5"'), ('string(date("2024-02-29"))', '"2024-02-29"')),
        aliases=("str",),
        dynamic=text,
    ),
    Function(
        name="bool",
        doc="A truth value: of `true`, `false`, `yes`, `no`, `1`, `0`; of a number whether it is not 0.",
        signatures=(
            signature("bool", "bool", lambda v: v, inline="{0}", expr=lambda e: e),
            signature("long", "bool", bool, inline="{0} != 0", expr=lambda e: e != 0),
            signature("double", "bool", bool, inline="{0} != 0", expr=lambda e: e != 0),
            signature("string", "bool", _text_to_bool, fails=True),
        ),
        examples=(('bool("yes")', "true"), ("bool(0)", "false")),
    ),
    Function(
        name="bytes",
        doc="UTF-8 bytes of a text.",
        signatures=(
            signature("bytes", "bytes", lambda v: v, inline="{0}", expr=lambda e: e),
            signature("string", "bytes", str.encode, inline="{0}.encode()", expr=lambda e: e.cast(pl.Binary)),
        ),
        examples=(('length(bytes("é"))', "2"),),
    ),
    Function(
        name="date",
        doc="A date: of ISO 8601 text, or the UTC date of a timestamp.",
        signatures=(
            signature("date", "date", lambda v: v, inline="{0}", expr=lambda e: e),
            signature("string", "date", lambda s: calendar.parse_iso(s, DATE), fails=True),
            signature("timestamp", "date", make=_day, fails=True),
            signature("local", "date", make=_day, fails=True),
        ),
        examples=(('year(date("2024-02-29"))', "2024"), ('date("2024-02-30")', "error: bad_cast")),
    ),
    Function(
        name="timestamp",
        doc="A timestamp in milliseconds: of ISO 8601 text (UTC unless it names an offset), or of a date at 00:00 UTC.",
        signatures=(
            signature("timestamp", lambda t: t[0].required(), lambda v: v, inline="{0}", expr=lambda e: e),
            signature("string", lambda t: TIMESTAMP_MS, lambda s: calendar.parse_iso(s, TIMESTAMP_MS), fails=True),
            signature("date", lambda t: TIMESTAMP_MS, _midnight, fails=True),
        ),
        examples=(('epoch_ms(timestamp("1970-01-01T01:00:00+01:00"))', "0"),),
    ),
    function(
        "typeof",
        "The kind of a value: null, bool, long, double, string, array, record, …",
        "value",
        "string",
        None,
        ("typeof(1.5)", '"double"'),
        ("typeof(null)", '"null"'),
        make=_typeof,
        strict=False,
    ),
    function(
        "is_uuid",
        "Whether a text is a UUID in its usual form.",
        "string",
        "bool",
        lambda s: _UUID.fullmatch(s) is not None,
        ('is_uuid("67e55044-10b1-426f-9247-bb680e5fe0c8")', "true"),
    ),
    function(
        "is_number",
        "Whether a text can be read as a number.",
        "string",
        "bool",
        lambda s: len(s) <= 400 and _DOUBLE.fullmatch(s.strip()) is not None,
        ('is_number("1e3")', "true"),
        ('is_number("a")', "false"),
    ),
)
