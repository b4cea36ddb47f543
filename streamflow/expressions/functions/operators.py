"""What stands behind the operators: arithmetic, comparisons, `in`, indexing. Callable by name as well."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from streamflow.expressions.columns import (
    errors_where,
    first_error,
    height_of,
    long_kernel,
    null_where,
    series_of,
)  # fmt: skip
from streamflow.expressions.failure import DIVISION_BY_ZERO, OVERFLOW, WRONG_TYPE, Fail
from streamflow.expressions.kinds import common
from streamflow.expressions.limits import LIST_ITEMS_MAX, LONG_MAX, LONG_MIN
from streamflow.expressions.signatures import Argument, Function, Implementation, Outcome, Signature, signature
from streamflow.model.types import Type

TITLE = "Operators"
INTRO = (
    "`+ - * / // % == != < <= > >=` and `in` may also be written as functions. Integers compute as long, all other "
    "numbers (decimals too) as double. `/` always gives a double. `//` and `%` round down, as in Python."
)


def _long(result: int) -> int:
    if LONG_MIN <= result <= LONG_MAX:
        return result
    raise Fail(OVERFLOW)


def _divide(a: float, b: float) -> float:
    if b == 0:
        raise Fail(DIVISION_BY_ZERO)
    return a / b


def _floor_divide_long(a: int, b: int) -> int:
    if b == 0:
        raise Fail(DIVISION_BY_ZERO)
    return _long(a // b)


def _floor_divide(a: float, b: float) -> float:
    if b == 0:
        raise Fail(DIVISION_BY_ZERO)
    return a // b


def _modulo(a: Any, b: Any) -> Any:
    if b == 0:
        raise Fail(DIVISION_BY_ZERO)
    return a % b


def _join_text(a: str, b: str) -> str:
    return a + b


def _join_lists(a: list[Any], b: list[Any]) -> list[Any]:
    if len(a) + len(b) > LIST_ITEMS_MAX:
        raise Fail(7)
    return a + b


def _zero_checked(operate: Callable[[Any, Any], pl.Series], dtype: pl.DataType) -> Callable[..., Outcome]:
    """A kernel for divisions: rows whose divisor is zero fail, the others never see one."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        n = height_of(arguments)
        a, b = (series_of(x, n, dtype) for x in arguments)
        zero = b == 0
        errors = errors_where(zero & a.is_not_null(), DIVISION_BY_ZERO)
        if errors is not None:
            b = null_where(b, zero)
        return operate(a, b), errors

    return kernel


def _floor_divide_long_kernel(arguments: Sequence[Argument]) -> Outcome:
    n = height_of(arguments)
    a, b = (series_of(x, n, pl.Int64()) for x in arguments)
    # The one quotient that does not fit; polars would wrap it.
    wraps = (a == LONG_MIN) & (b == -1)
    too_large = errors_where(wraps, OVERFLOW)
    if too_large is not None:
        b = null_where(b, wraps)
    values, by_zero = _zero_checked(operator.floordiv, pl.Int64())([a, b])
    return values, first_error([by_zero, too_large])


def _numpy(operate: Any) -> Callable[[pl.Series, pl.Series], pl.Series]:
    """A float operation by numpy, which follows Python's; nulls stay nulls."""

    def apply(a: pl.Series, b: pl.Series) -> pl.Series:
        missing = a.is_null() | b.is_null()
        with np.errstate(all="ignore"):
            found = operate(a.fill_null(1.0).to_numpy(), b.fill_null(1.0).to_numpy())
        values = pl.Series(found, dtype=pl.Float64)
        return null_where(values, missing) if missing.any() else values

    return apply


def _add_any(a: Any, b: Any) -> Any:
    if type(a) is str and type(b) is str:
        return a + b
    if type(a) is list and type(b) is list:
        return _join_lists(a, b)
    return _arithmetic(a, b, operator.add)


def _subtract_any(a: Any, b: Any) -> Any:
    return _arithmetic(a, b, operator.sub)


def _multiply_any(a: Any, b: Any) -> Any:
    return _arithmetic(a, b, operator.mul)


def _arithmetic(a: Any, b: Any, operate: Callable[[Any, Any], Any]) -> Any:
    kinds = type(a), type(b)
    if kinds == (int, int):
        return _long(operate(_long(a), _long(b)))
    return operate(as_double(a), as_double(b))


def as_double(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise Fail(WRONG_TYPE)


def _divide_any(a: Any, b: Any) -> float:
    return _divide(as_double(a), as_double(b))


def _floor_divide_any(a: Any, b: Any) -> Any:
    if type(a) is int and type(b) is int:
        return _floor_divide_long(_long(a), _long(b))
    return _floor_divide(as_double(a), as_double(b))


def _modulo_any(a: Any, b: Any) -> Any:
    if type(a) is int and type(b) is int:
        return _modulo(_long(a), _long(b))
    return _modulo(as_double(a), as_double(b))


def equal(a: Any, b: Any) -> bool:
    """Equality of JSON values: numbers by value, NaN equals itself, true is not 1, lists and objects by content."""
    kind_a, kind_b = type(a), type(b)
    if kind_a is kind_b:
        if kind_a is list:
            return len(a) == len(b) and all(map(equal, a, b))
        if kind_a is dict:
            return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
        return bool(a == b or (a != a and b != b))  # noqa: PLR0124
    if kind_a in _NUMBERS and kind_b in _NUMBERS:
        return float(a) == float(b)
    return False


_NUMBERS = frozenset((int, float))


def _ordered(a: Any, b: Any) -> tuple[Any, Any]:
    """The two values made comparable; raises when they have no common order."""
    kind_a, kind_b = type(a), type(b)
    if kind_a is kind_b and kind_a in (int, str, bool):
        return a, b
    return as_double(a), as_double(b)


def less(a: Any, b: Any) -> bool:
    """`a < b` where NaN is greatest."""
    return bool(a < b or (b != b and a == a))  # noqa: PLR0124


def _less_any(a: Any, b: Any) -> bool:
    return less(*_ordered(a, b))


def _greater_any(a: Any, b: Any) -> bool:
    a, b = _ordered(a, b)
    return less(b, a)


def _less_equal_any(a: Any, b: Any) -> bool:
    a, b = _ordered(a, b)
    return not less(b, a)


def _greater_equal_any(a: Any, b: Any) -> bool:
    return not less(*_ordered(a, b))


_ORDERED = ("bool", "string", "bytes", "date", "time")
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge,
}  # fmt: skip
_INLINE = {
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "less": "{0} < {1}", "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}",
}  # fmt: skip
# The same on doubles, where NaN equals itself and is greatest.
_INLINE_DOUBLE = {
    "equal": "({0} == {1} or ({0} != {0} and {1} != {1}))",
    "not_equal": "({0} != {1} and ({0} == {0} or {1} == {1}))",
    "less": "({0} < {1} or ({1} != {1} and {0} == {0}))",
    "less_equal": "({0} <= {1} or {1} != {1})",
    "greater": "({0} > {1} or ({0} != {0} and {1} == {1}))",
    "greater_equal": "({0} >= {1} or {0} != {0})",
}
_DOUBLE: dict[str, Callable[[Any, Any], bool]] = {
    "equal": lambda a, b: a == b or (a != a and b != b),  # noqa: PLR0124
    "not_equal": lambda a, b: a != b and (a == a or b == b),  # noqa: PLR0124
    "less": less,
    "less_equal": lambda a, b: not less(b, a),
    "greater": lambda a, b: less(b, a),
    "greater_equal": lambda a, b: not less(a, b),
}
_DYNAMIC: dict[str, Callable[[Any, Any], bool]] = {
    "equal": equal, "not_equal": lambda a, b: not equal(a, b), "less": _less_any, "less_equal": _less_equal_any,
    "greater": _greater_any, "greater_equal": _greater_equal_any,
}  # fmt: skip


def _comparison(name: str, sign: str, doc: str, *examples: tuple[str, str]) -> Function:
    operate = _SIGNS[name]
    plain = Implementation(py=operate, inline=_INLINE[name], expr=operate)
    doubles = Implementation(py=_DOUBLE[name], inline=_INLINE_DOUBLE[name], expr=operate)

    def signed(params: str, does: Any) -> Signature:
        return Signature(params=tuple(params.split()), result="bool", does=does)

    signatures = [signed("long long", plain), signed("double double", doubles)]
    signatures += [signed(f"{kind} {kind}", plain) for kind in _ORDERED]
    signatures += [signed(f"{kind} {kind}", _instants(operate, _INLINE[name])) for kind in ("timestamp", "local")]
    if name in ("equal", "not_equal"):
        deep = Implementation(py=_DYNAMIC[name])
        signatures += [signed(f"{kind} {kind}", deep) for kind in ("array", "map", "record")]
    return Function(
        name=name, doc=f"{doc} Operator `{sign}`.", signatures=tuple(signatures), examples=examples,
        dynamic=_DYNAMIC[name],
    )  # fmt: skip


def _instants(operate: Callable[[Any, Any], Any], inline: str) -> Callable[[Sequence[Type]], Implementation]:
    def make(types: Sequence[Type]) -> Implementation:
        scale_a, scale_b = (1_000 if t.unit == "ms" and len({u.unit for u in types}) > 1 else 1 for t in types)
        if scale_a == scale_b:
            return Implementation(py=operate, inline=inline, expr=operate)

        def wide(e: pl.Expr, scale: int) -> pl.Expr:
            return e.to_physical().cast(pl.Int128) * pl.lit(scale, dtype=pl.Int128)

        return Implementation(
            py=lambda a, b: operate(a * scale_a, b * scale_b),
            expr=lambda a, b: operate(wide(a, scale_a), wide(b, scale_b)),
        )

    return make


def _element(types: Sequence[Type]) -> Type:
    found = common(types)
    assert found is not None
    return found.required()


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="add",
        doc="Sum of two numbers, or two texts or two lists joined. Operator `+`.",
        signatures=(
            signature(
                "long long",
                "long",
                lambda a, b: _long(a + b),
                fails=True,
                kernel=long_kernel(operator.add, lambda a, b, c, d: [a + c, b + d]),
            ),
            signature("double double", "double", operator.add, inline="{0} + {1}", expr=operator.add),
            signature("string string", "string", _join_text, inline="{0} + {1}", expr=operator.add),
            signature("array array", _element, _join_lists, alike=True, fails=True),
        ),
        examples=(
            ("1 + 2", "3"),
            ('"big" + "-" + "order"', '"big-order"'),
            ("9223372036854775807 + 1", "error: overflow"),
        ),
        dynamic=_add_any,
    ),
    Function(
        name="subtract",
        doc="Difference of two numbers. Operator `-`.",
        signatures=(
            signature(
                "long long",
                "long",
                lambda a, b: _long(a - b),
                fails=True,
                kernel=long_kernel(operator.sub, lambda a, b, c, d: [a - d, b - c]),
            ),
            signature("double double", "double", operator.sub, inline="{0} - {1}", expr=operator.sub),
        ),
        examples=(("5 - 7", "-2"), ("0.5 - 1", "-0.5")),
        dynamic=_subtract_any,
    ),
    Function(
        name="multiply",
        doc="Product of two numbers. Operator `*`.",
        signatures=(
            signature(
                "long long",
                "long",
                lambda a, b: _long(a * b),
                fails=True,
                kernel=long_kernel(operator.mul, lambda a, b, c, d: [a * c, a * d, b * c, b * d]),
            ),
            signature("double double", "double", operator.mul, inline="{0} * {1}", expr=operator.mul),
        ),
        examples=(("6 * 7", "42"), ("5000000000 * 5000000000", "error: overflow")),
        dynamic=_multiply_any,
    ),
    Function(
        name="divide",
        doc="Quotient of two numbers, always a double. Operator `/`.",
        signatures=(
            signature(
                "double double", "double", _divide, fails=True, kernel=_zero_checked(operator.truediv, pl.Float64())
            ),
        ),
        examples=(("7 / 2", "3.5"), ("1 / 0", "error: division_by_zero")),
        dynamic=_divide_any,
    ),
    Function(
        name="floor_divide",
        doc="Quotient rounded down to a whole number. Operator `//`.",
        signatures=(
            signature("long long", "long", _floor_divide_long, fails=True, kernel=_floor_divide_long_kernel),
            signature(
                "double double",
                "double",
                _floor_divide,
                fails=True,
                kernel=_zero_checked(_numpy(np.floor_divide), pl.Float64()),
            ),
        ),
        examples=(("7 // 2", "3"), ("-7 // 2", "-4"), ("1 // 0", "error: division_by_zero")),
        dynamic=_floor_divide_any,
    ),
    Function(
        name="mod",
        doc="Remainder with the sign of the divisor. Operator `%`.",
        signatures=(
            signature("long long", "long", _modulo, fails=True, kernel=_zero_checked(operator.mod, pl.Int64())),
            signature(
                "double double", "double", _modulo, fails=True, kernel=_zero_checked(_numpy(np.remainder), pl.Float64())
            ),
        ),
        examples=(("7 % 3", "1"), ("-7 % 3", "2"), ("5.5 % 2", "1.5")),
        dynamic=_modulo_any,
    ),
    Function(
        name="negate",
        doc="The number with its sign changed. Operator `-`.",
        signatures=(
            signature(
                "long",
                "long",
                lambda a: _long(-a),
                fails=True,
                kernel=lambda args: long_kernel(lambda a, b: b - a, lambda a, b, c, d: [-a, -b])([args[0], 0]),
            ),
            signature("double", "double", operator.neg, inline="-{0}", expr=operator.neg),
        ),
        examples=(("negate(3)", "-3"), ("-(2 - 5)", "3")),
    ),
    Function(
        name="not_",
        doc="True for false and false for true. Operator `not`.",
        signatures=(signature("bool", "bool", operator.not_, inline="not {0}", expr=operator.invert),),
        examples=(("not true", "false"), ("not null", "null")),
    ),
    _comparison(
        "equal",
        "==",
        "Whether two values are equal; `x == null` asks whether x is null.",
        ("1 == 1.0", "true"),
        ('"a" == "b"', "false"),
    ),
    _comparison(
        "not_equal", "!=", "Whether two values differ; `x != null` asks whether x is not null.", ("1 != 2", "true")
    ),
    _comparison(
        "less",
        "<",
        "Whether the first value is smaller; text by code points, NaN is greatest.",
        ("1 < 2", "true"),
        ('"a" < "B"', "false"),
        ("1 < 2 < 3", "true"),
    ),
    _comparison("less_equal", "<=", "Whether the first value is smaller or equal.", ("2 <= 2", "true")),
    _comparison("greater", ">", "Whether the first value is greater.", ("2 > 2.5", "false")),
    _comparison("greater_equal", ">=", "Whether the first value is greater or equal.", ("2 >= 2", "true")),
)
