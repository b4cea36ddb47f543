"""Functions about null, failure and choice. Those that do not evaluate all arguments are built by the checker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamflow.expressions.kinds import common
from streamflow.expressions.signatures import Function, Implementation, function, signature
from streamflow.model.types import ANY, Type

TITLE = "Null, errors and choice"
INTRO = (
    "Only the arguments that are needed are evaluated: an error in the others does not count. Operators of this kind: "
    "`a if condition else b`, `and`, `or`."
)


def _is_null(types: Sequence[Type]) -> Implementation:
    return Implementation(py=lambda v: v is None, inline="{0} is None", expr=lambda e: e.is_null())


def _is_not_null(types: Sequence[Type]) -> Implementation:
    return Implementation(py=lambda v: v is not None, inline="{0} is not None", expr=lambda e: e.is_not_null())


def _is_empty(types: Sequence[Type]) -> Implementation:
    kind = types[0].kind
    py: Any = lambda v: v is None or (type(v) in (str, list, dict, bytes) and len(v) == 0)  # noqa: E731
    if kind in ("string", "enum", "uuid"):
        return Implementation(py=py, inline="not {0}", expr=lambda e: e.is_null() | (e == ""))
    if kind == "array":
        return Implementation(py=py, inline="not {0}", expr=lambda e: e.is_null() | (e.list.len() == 0))
    return Implementation(py=py)


def _first(types: Sequence[Type]) -> Type:
    return (common(types) or ANY).optional()


def _null_if(value: Any, other: Any) -> Any:
    from streamflow.expressions.functions.operators import equal

    return None if value is not None and other is not None and equal(value, other) else value


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="coalesce",
        doc="The first argument that is not null.",
        special="coalesce(value, value, …)",
        examples=(("coalesce(null, 2, 1 // 0)", "2"),),
    ),
    Function(
        name="if_null",
        doc="The first argument, or the second when the first is null.",
        special="if_null(value, default)",
        examples=(("if_null(null, 0)", "0"),),
    ),
    Function(
        name="try",
        doc="The expression, or the default (null) where it fails.",
        special="try(expression, [default])",
        examples=(('try(long("x"), 0)', "0"), ("try(1 // 0)", "null")),
        aliases=("try_",),
    ),
    Function(
        name="case",
        doc="The value after the first condition that is true, else the last argument (null without one).",
        special="case(condition, value, …, [default])",
        aliases=("when",),
        examples=(('case(1 > 2, "a", 2 > 1, "b", "c")', '"b"'), ("case(false, 1)", "null")),
    ),
    Function(
        name="switch",
        doc="The result after the first value that equals the first argument, else the last argument (null "
        "without one).",
        special="switch(value, match, result, …, [default])",
        examples=(('switch("DE", "FR", 1, "DE", 2, 0)', "2"),),
    ),
    function(
        "is_null",
        "Whether a value is null; as `x == null`.",
        "value",
        "bool",
        None,
        ("is_null(null)", "true"),
        make=_is_null,
        strict=False,
    ),
    function(
        "is_not_null",
        "Whether a value is not null; as `x != null`.",
        "value",
        "bool",
        None,
        ("is_not_null(0)", "true"),
        make=_is_not_null,
        strict=False,
    ),
    function(
        "is_empty",
        "Whether a value is null, or a text, list, map or object without content.",
        "value",
        "bool",
        None,
        ('is_empty("")', "true"),
        ("is_empty([0])", "false"),
        make=_is_empty,
        strict=False,
    ),
    Function(
        name="null_if",
        doc="Null when both arguments are equal, else the first.",
        signatures=tuple(
            signature(f"{k} {k}", _first, _null_if, strict=False, nullable=True, alike=True)
            for k in ("long", "double", "string", "bool", "date", "timestamp", "any")
        ),
        examples=(('null_if("", "")', "null"), ("null_if(1, 2)", "1")),
    ),
)
