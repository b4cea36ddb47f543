"""Aggregate functions: state per group, updated by rows in order of arrival, so that steps leave no trace in it.

Sums of whole numbers are exact in 128 bits, so only the final value can overflow. Sums of doubles add strictly one
after the other (never by halves, as polars does), since another order of addition gives another last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from streamflow.model.types import ANY, DOUBLE, LONG, STRING, Type, array_of, polars_dtype, record_of
from streamflow.operators.keys import can_be_key
from streamflow.sdk.errors import ItemError

Plain = Literal["count", "sum", "mean", "min", "max", "first", "last", "collect", "count_distinct", "join"]
Name = Literal[
    "count", "sum", "mean", "min", "max", "first", "last", "collect", "count_distinct", "join", "max_by", "min_by",
    "top", "approx_count_distinct", "quantiles", "reduce", "code",
]  # fmt: skip
# What needs all values at once; the others fold value by value.
NEEDS_ROWS = frozenset({"collect", "count_distinct", "join"})
_ORDERED = frozenset(("bool", "string", "bytes", "enum", "uuid", "date", "time", "timestamp", "local", "fixed"))
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
Columns = Mapping[str, pl.Series]


def result_type(name: Name, of: Type | None, by: Type | None = None) -> Type | str:
    """Type of a function's result over values of type `of`, compared by `by`; a text says why there is none."""
    if name == "count":
        return LONG
    if of is None:
        return f"{name} needs `of`: what it is computed of"
    if name == "count_distinct":
        return LONG
    if name == "collect":
        return array_of(of)
    if name in ("first", "last"):
        return of.optional() if of.kind != "any" else ANY
    if name == "join":
        return STRING if of.is_text else f"join is of text, not {of}"
    if name in ("min", "max"):
        return of.optional() if _has_order(of) else f"{of} has no order"
    if name in ("max_by", "min_by", "top"):
        return _extreme_type(name, of, by)
    if name == "approx_count_distinct":
        return LONG if can_be_key(of) else f"{name} is of scalars, not {of}"
    if not of.is_numeric:
        return f"{name} is of numbers, not {of}"
    if name == "quantiles":
        return array_of(DOUBLE).optional()
    if name == "mean" or of.kind in ("float", "double"):
        return DOUBLE.optional()
    if of.kind == "decimal":
        return Type(kind="decimal", precision=38, scale=of.scale, nullable=True)
    return LONG.optional()


def _extreme_type(name: Name, of: Type, by: Type | None) -> Type | str:
    compared = by or of
    if not _has_order(compared):
        return f"{compared} has no order"
    value = of if of.kind == "any" else of.optional()
    if name != "top":
        return value
    return array_of(of.required() if by is None else record_of({"value": value, "by": compared.required()}))


def _has_order(of: Type) -> bool:
    return of.is_numeric or of.kind in _ORDERED


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One function over the column `column` (none for a count of rows)."""

    field: str
    name: Plain
    column: str | None
    of: Type | None
    type: Type
    separator: str = ", "

    @property
    def parts(self) -> tuple[str, ...]:
        """State columns by suffix."""
        return ("n", "v")

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        """What `update` takes of the evaluated rows; None for a count of rows."""
        return None if self.column is None else rows[self.column]

    def update(self, old: Columns, group: pl.Series, values: pl.Series | None, groups: int) -> dict[str, pl.Series]:
        """State columns of `groups` groups: the first ones are those of `old`; row i belongs to `group[i]`."""
        if values is None:
            return {"n": _count(old, group, None, groups)}
        if self.name in ("count", "sum", "mean"):
            state = {"n": _count(old, group, values, groups)}
            if self.name != "count":
                state["v"] = self._sum(old, group, values, groups)
            return state
        return {"v": _fold(old, group, values, groups, self._expr(values.dtype))}

    def result(self, state: Columns) -> pl.Series:
        """Values of the groups. Raises ItemError when one does not fit its type."""
        dtype = polars_dtype(self.type)
        if self.name == "count":
            return state["n"].alias(self.field)
        value = state["v"]
        if self.name in ("sum", "mean"):
            some = state["n"] > 0
            if self.name == "mean":
                total = value.cast(pl.Float64)
                mean = total / state["n"].cast(pl.Float64)
                return mean.zip_with(some, pl.Series([None], dtype=pl.Float64)).alias(self.field)
            if value.dtype == pl.Int128 and not value.is_between(_LONG_MIN, _LONG_MAX).all():
                raise ItemError(f"fields.{self.field}: the sum does not fit 64 bits", item_code="overflow")
            value = value.cast(dtype).zip_with(some, pl.Series([None], dtype=dtype))
        return value.cast(dtype).alias(self.field)

    def _sum(self, old: Columns, group: pl.Series, values: pl.Series, groups: int) -> pl.Series:
        if values.dtype.is_float():
            total = np.zeros(groups, np.float64)
            if "v" in old:
                total[: len(old["v"])] = old["v"].to_numpy()
            there = values.is_not_null()
            np.add.at(total, group.filter(there).to_numpy(), values.filter(there).cast(pl.Float64).to_numpy())
            return pl.Series(total)
        wide: pl.DataType = pl.Int128()
        if values.dtype.is_decimal():
            wide = pl.Decimal(38, self.of.scale if self.of else 0)
        return _fold(old, group, values.cast(wide), groups, pl.col("v").sum())

    def _expr(self, dtype: pl.DataType) -> pl.Expr:
        v = pl.col("v")
        if self.name == "max" and dtype.is_float():  # NaN is the greatest number
            return pl.when(v.is_nan().any()).then(float("nan")).otherwise(v.max()).cast(dtype)
        plain = {
            "min": v.min(), "max": v.max(), "first": v.first(), "last": v.last(), "collect": v,
            "count_distinct": v.drop_nulls().n_unique().cast(pl.Int64), "join": v.drop_nulls().str.join(self.separator),
        }  # fmt: skip
        return plain[self.name]


def _count(old: Columns, group: pl.Series, values: pl.Series | None, groups: int) -> pl.Series:
    counted = group if values is None else group.filter(values.is_not_null())
    number = np.bincount(counted.to_numpy(), minlength=groups).astype(np.int64)
    if "n" in old:
        number[: len(old["n"])] += old["n"].to_numpy()
    return pl.Series(number)


def _fold(old: Columns, group: pl.Series, values: pl.Series, groups: int, fold: pl.Expr) -> pl.Series:
    """`fold` over each group's old state followed by its values in order."""
    frame = pl.DataFrame({"g": group.cast(pl.UInt32), "v": values})
    if "v" in old:
        before = pl.DataFrame({"g": pl.int_range(0, len(old["v"]), dtype=pl.UInt32, eager=True), "v": old["v"]})
        frame = pl.concat([before.cast({"v": values.dtype}), frame])
    folded = frame.group_by("g", maintain_order=True).agg(fold.alias("v")).sort("g")
    assert folded.height == groups
    return folded["v"]
