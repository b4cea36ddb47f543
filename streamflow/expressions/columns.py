"""Helpers of columnar kernels: error columns, ranges, and the general kernel that applies the Python definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import polars as pl

from streamflow.expressions.failure import Fail
from streamflow.expressions.limits import LONG_MAX, LONG_MIN
from streamflow.expressions.signatures import Argument, Outcome
from streamflow.expressions.values import from_python, to_python
from streamflow.model.types import Type

WIDE = pl.Int128()


def errors_where(mask: pl.Series, code: int) -> pl.Series | None:
    """An error column with `code` where `mask` is true; None when it nowhere is."""
    if not mask.any():
        return None
    return (mask.fill_null(False).cast(pl.UInt8) * code).cast(pl.UInt8)


def first_error(columns: Sequence[pl.Series | None]) -> pl.Series | None:
    """Per row the first code that is not 0, in order of the columns; None when there are none."""
    found: pl.Series | None = None
    for column in columns:
        if column is not None:
            found = column if found is None else found.zip_with(found != 0, column)
    return found


def null_where(values: pl.Series, mask: pl.Series) -> pl.Series:
    """`values` with null in the rows of `mask`."""
    keep = ~mask.fill_null(False)
    return values.zip_with(keep, pl.Series([None], dtype=values.dtype).new_from_index(0, len(values)))


def bounds(values: Argument) -> tuple[int, int] | None:
    """Least and greatest integer of an argument; None when it holds none."""
    if isinstance(values, pl.Series):
        least, most = values.min(), values.max()
        return None if least is None else (least, most)  # type: ignore[return-value]
    return values, values


def series_of(argument: Argument, height: int, dtype: pl.DataType) -> pl.Series:
    """The argument as a full column."""
    if isinstance(argument, pl.Series):
        return argument
    return pl.Series([argument], dtype=dtype).new_from_index(0, height)


def height_of(arguments: Sequence[Argument]) -> int:
    return next(len(a) for a in arguments if isinstance(a, pl.Series))


def long_kernel(operate: Callable[[Any, Any], Any], corner: Callable[[int, int, int, int], list[int]]) -> Any:
    """Integer arithmetic that never wraps: plain when the operands' ranges show that it fits, else in 128 bits."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        a, b = arguments
        range_a, range_b = bounds(a), bounds(b)
        if range_a is None or range_b is None:
            return pl.Series([None], dtype=pl.Int64).new_from_index(0, height_of(arguments)), None
        corners = corner(*range_a, *range_b)
        if min(corners) >= LONG_MIN and max(corners) <= LONG_MAX:
            result: pl.Series = operate(a, b)
            return result, None
        n = height_of(arguments)
        wide = operate(series_of(a, n, pl.Int64()).cast(WIDE), series_of(b, n, pl.Int64()).cast(WIDE))
        result = wide.cast(pl.Int64, strict=False)
        return result, errors_where(result.is_null() & wide.is_not_null(), 1)

    return kernel


def python_kernel(py: Callable[..., Any], params: Sequence[Type], result: Type, *, strict: bool) -> Any:
    """The general kernel: `py` for each row, values in their Python representation."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        n = height_of(arguments)
        columns = [
            to_python(a, t) if isinstance(a, pl.Series) else repeat(a, n)
            for a, t in zip(arguments, params, strict=True)
        ]
        values: list[Any] = []
        codes: dict[int, int] = {}
        for row, args in enumerate(zip(*columns)):
            if strict and None in args:
                values.append(None)
                continue
            try:
                values.append(py(*args))
            except Fail as fail:
                values.append(None)
                codes[row] = fail.code
        return from_python(values, result), error_column(codes, n)

    return kernel


def error_column(codes: dict[int, int], height: int) -> pl.Series | None:
    """An error column from row -> code; None when there are none."""
    if not codes:
        return None
    rows = bytearray(height)
    for row, code in codes.items():
        rows[row] = code
    return pl.Series(list(rows), dtype=pl.UInt8)
