"""Functions on numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from streamflow.expressions.columns import bounds, errors_where, python_kernel
from streamflow.expressions.failure import BAD_CAST, INVALID_ARGUMENT, OVERFLOW, Fail
from streamflow.expressions.limits import LONG_MAX, LONG_MIN
from streamflow.expressions.signatures import Argument, Function, Outcome, function, signature
from streamflow.model.types import DOUBLE, LONG

TITLE = "Numbers"
INTRO = "Functions that keep whole numbers whole take long and double; the others compute on doubles."


def _long(value: int) -> int:
    if LONG_MIN <= value <= LONG_MAX:
        return value
    raise Fail(OVERFLOW)


def _abs_kernel(arguments: Sequence[Argument]) -> Outcome:
    values: pl.Series = arguments[0]
    errors = errors_where(values == LONG_MIN, OVERFLOW)
    return values.abs(), errors


def _to_whole(how: Callable[[float], int]) -> Callable[[float], int]:
    def apply(value: float) -> int:
        if value != value or math.isinf(value):  # noqa: PLR0124
            raise Fail(BAD_CAST)
        return _long(how(value))

    return apply


def _whole_kernel(method: str, py: Callable[[float], int]) -> Callable[..., Outcome]:
    """floor, ceil or truncation by polars where every value is well inside 64 bits."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        values: pl.Series = arguments[0]
        found = bounds(values)
        if found is None or (found[0] > -9e18 and found[1] < 9e18 and not values.is_nan().any()):
            rounded = getattr(values, method)() if method else values
            return rounded.cast(pl.Int64), None
        return python_kernel(py, [DOUBLE], LONG, strict=True)(arguments)  # type: ignore[no-any-return]

    return kernel


def _round(value: float, digits: int) -> float:
    if not -300 <= digits <= 300:
        raise Fail(INVALID_ARGUMENT)
    if value != value or math.isinf(value):  # noqa: PLR0124
        return value
    try:
        return round(value, digits)
    except OverflowError:
        raise Fail(OVERFLOW) from None


def _round_long(value: int, digits: int) -> int:
    if not -300 <= digits <= 300:
        raise Fail(INVALID_ARGUMENT)
    return _long(round(value, digits))


def _domain(how: Callable[..., float]) -> Callable[..., float]:
    """A function of `math`: invalid_argument outside its domain, overflow above the largest double."""

    def apply(*values: float) -> float:
        try:
            return how(*values)
        except ValueError:
            raise Fail(INVALID_ARGUMENT) from None
        except OverflowError:
            raise Fail(OVERFLOW) from None

    return apply


def _sqrt_kernel(arguments: Sequence[Argument]) -> Outcome:
    values: pl.Series = arguments[0]
    errors = errors_where(values < 0, INVALID_ARGUMENT)
    return values.sqrt(), errors


def _power_long(base: int, exponent: int) -> int:
    if exponent < 0:
        raise Fail(INVALID_ARGUMENT)
    if base in (-1, 0, 1):
        return base**exponent if exponent < 2 else (1 if base == -1 and exponent % 2 == 0 else base)
    if exponent > 63:
        raise Fail(OVERFLOW)
    return _long(base**exponent)


def _power(base: float, exponent: float) -> float:
    if base == 0 and exponent < 0:
        raise Fail(INVALID_ARGUMENT)
    return _domain(math.pow)(base, exponent)


def _sign(value: float) -> int:
    if value != value:  # noqa: PLR0124
        raise Fail(INVALID_ARGUMENT)
    return (value > 0) - (value < 0)


def _clamp(value: Any, low: Any, high: Any) -> Any:
    if low != low or high != high or low > high:  # noqa: PLR0124
        raise Fail(INVALID_ARGUMENT)
    return low if value < low else high if value > high or value != value else value  # noqa: PLR0124


def _log(value: float, base: float) -> float:
    if base <= 0 or base == 1:
        raise Fail(INVALID_ARGUMENT)
    return _domain(math.log)(value) / math.log(base) if base != math.e else _domain(math.log)(value)


def _one(name: str, doc: str, how: Callable[[float], float], *examples: tuple[str, str]) -> Function:
    return function(name, doc, "double", "double", _domain(how), *examples, fails=True)


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="abs",
        doc="Absolute value.",
        signatures=(
            signature("long", "long", lambda v: _long(abs(v)), kernel=_abs_kernel, fails=True),
            signature("double", "double", abs, inline="abs({0})", expr=lambda e: e.abs()),
        ),
        examples=(("abs(-5)", "5"), ("abs(-0.5)", "0.5")),
    ),
    Function(
        name="round",
        doc="Rounded to so many decimals (default 0), halves to the even neighbour as in Python; negative "
        "decimals round to tens. A double stays a double.",
        signatures=(
            signature("long", "long", _round_long, optional=(("long", 0),), fails=True),
            signature("double", "double", _round, optional=(("long", 0),), fails=True),
        ),
        examples=(("round(2.5)", "2.0"), ("round(2.345, 2)", "2.35"), ("round(1234, -2)", "1200")),
    ),
    Function(
        name="floor",
        doc="The greatest whole number that is not greater, as a long.",
        signatures=(
            signature("long", "long", lambda v: v, inline="{0}", expr=lambda e: e),
            signature(
                "double",
                "long",
                _to_whole(math.floor),
                fails=True,
                kernel=_whole_kernel("floor", _to_whole(math.floor)),
            ),
        ),
        examples=(("floor(-2.5)", "-3"),),
    ),
    Function(
        name="ceil",
        doc="The least whole number that is not smaller, as a long.",
        signatures=(
            signature("long", "long", lambda v: v, inline="{0}", expr=lambda e: e),
            signature(
                "double", "long", _to_whole(math.ceil), fails=True, kernel=_whole_kernel("ceil", _to_whole(math.ceil))
            ),
        ),
        examples=(("ceil(2.1)", "3"),),
    ),
    Function(
        name="trunc",
        doc="The whole number towards zero, as a long.",
        signatures=(
            signature("long", "long", lambda v: v, inline="{0}", expr=lambda e: e),
            signature(
                "double", "long", _to_whole(math.trunc), fails=True, kernel=_whole_kernel("", _to_whole(math.trunc))
            ),
        ),
        examples=(("trunc(-2.9)", "-2"),),
    ),
    Function(
        name="pow",
        doc="Power. Of whole numbers a long; a negative exponent needs a double.",
        signatures=(
            signature("long long", "long", _power_long, fails=True),
            signature("double double", "double", _power, fails=True),
        ),
        examples=(("pow(2, 10)", "1024"), ("pow(2.0, -1)", "0.5"), ("pow(10, 19)", "error: overflow")),
        aliases=("power",),
    ),
    function(
        "sqrt",
        "Square root; of a negative number invalid_argument.",
        "double",
        "double",
        _domain(math.sqrt),
        ("sqrt(16)", "4.0"),
        ("sqrt(-1)", "error: invalid_argument"),
        fails=True,
        kernel=_sqrt_kernel,
    ),
    function(
        "log",
        "Logarithm, natural unless a base is given.",
        "double",
        "double",
        _log,
        ("log(1)", "0.0"),
        ("log(0)", "error: invalid_argument"),
        optional=(("double", math.e),),
        fails=True,
    ),
    _one("log10", "Logarithm to base 10.", math.log10, ("log10(1000)", "3.0")),
    _one("log2", "Logarithm to base 2.", math.log2, ("log2(8)", "3.0")),
    _one("exp", "e to the power of a number.", math.exp, ("exp(0)", "1.0")),
    _one("sin", "Sine of an angle in radians.", math.sin, ("sin(0)", "0.0")),
    _one("cos", "Cosine of an angle in radians.", math.cos, ("cos(0)", "1.0")),
    _one("tan", "Tangent of an angle in radians.", math.tan, ("tan(0)", "0.0")),
    _one("radians", "Radians of an angle in degrees.", math.radians, ("radians(0)", "0.0")),
    _one("degrees", "Degrees of an angle in radians.", math.degrees, ("degrees(0)", "0.0")),
    function(
        "atan2",
        "Angle in radians of the point (x, y), given as atan2(y, x).",
        "double double",
        "double",
        math.atan2,
        ("atan2(0, 1)", "0.0"),
    ),
    function("sign", "-1, 0 or 1.", "double", "long", _sign, ("sign(-3.5)", "-1"), fails=True),
    Function(
        name="clamp",
        doc="The number, or the nearer end of the range when it lies outside; NaN becomes the upper end.",
        signatures=(
            signature("long long long", "long", _clamp, fails=True),
            signature("double double double", "double", _clamp, fails=True),
        ),
        examples=(
            ("clamp(12, 0, 10)", "10"),
            ("clamp(0.5, 0, 1)", "0.5"),
            ("clamp(1, 5, 0)", "error: invalid_argument"),
        ),
    ),
    function(
        "is_nan",
        "Whether a double is NaN.",
        "double",
        "bool",
        lambda v: v != v,  # noqa: PLR0124
        ('is_nan(double("nan"))', "true"),
        inline="{0} != {0}",
        expr=lambda e: e.is_nan(),
    ),
    function(
        "is_finite",
        "Whether a double is neither NaN nor infinite.",
        "double",
        "bool",
        math.isfinite,
        ('is_finite(double("inf"))', "false"),
        expr=lambda e: e.is_finite(),
    ),
    function(
        "is_even",
        "Whether a whole number is even.",
        "long",
        "bool",
        lambda v: v % 2 == 0,
        ("is_even(4)", "true"),
        inline="{0} % 2 == 0",
        expr=lambda e: e % 2 == 0,
    ),
    function(
        "bit_and",
        "The bits that are set in both numbers.",
        "long long",
        "long",
        operator.and_,
        ("bit_and(12, 10)", "8"),
        inline="{0} & {1}",
        expr=lambda a, b: a & b,
    ),
    function(
        "bit_or",
        "The bits that are set in either number.",
        "long long",
        "long",
        operator.or_,
        ("bit_or(12, 10)", "14"),
        inline="{0} | {1}",
        expr=lambda a, b: a | b,
    ),
    function(
        "bit_xor",
        "The bits that are set in one of the numbers.",
        "long long",
        "long",
        operator.xor,
        ("bit_xor(12, 10)", "6"),
        inline="{0} ^ {1}",
        expr=lambda a, b: a ^ b,
    ),
)
