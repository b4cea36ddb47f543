"""Folds: what windows keep of their rows. A state is a row of columns; states of one group combine into one.

Every row that arrives is a state of its own, so adding rows and merging windows are the same thing: states of a group,
in order, become one. The order is that of arrival, old state first, so the cut of a stream into steps shows nowhere:
whole numbers add exactly, doubles strictly one after the other. `first` and `last` go by event time, and by arrival
where that is equal: two windows that merge, or partitions that were read in another order, give the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.types import LONG, Type, array_of, polars_dtype
from streamflow.operators.aggregates import Plain
from streamflow.operators.errors import said
from streamflow.operators.folding import GROUP, Columns

_WIDE = Type(kind="decimal", precision=38, scale=0)
_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Fold:
    """One function. `column`: of the rows' values, none for a count of rows. `type`: of the result."""

    field: str
    name: Plain
    column: str | None
    of: Type | None
    type: Type
    separator: str = ", "

    @property
    def parts(self) -> dict[str, Type]:
        """State columns by suffix, with their types."""
        if self.name == "count":
            return {"n": LONG}
        assert self.of is not None
        if self.name in ("sum", "mean"):
            return {"n": LONG, "v": self._sum_type}
        if self.name in ("first", "last"):
            return {"v": self.of.optional() if self.of.kind != "any" else self.of, "t": LONG}
        if self.name in ("min", "max"):
            return {"v": self.of.optional()}
        return {"v": array_of(self.of if self.name == "collect" else self.of.required())}

    @property
    def exact(self) -> bool:
        """Whether the order in which states combine never shows: not in the last digit, nor in that of a list."""
        return self.name not in ("collect", "join") and not (
            self.name in ("sum", "mean") and self._sum_type.kind == "double"
        )

    @property
    def _sum_type(self) -> Type:
        assert self.of is not None
        if self.of.kind in ("float", "double"):
            return Type(kind="double")
        return Type(kind="decimal", precision=38, scale=self.of.scale) if self.of.kind == "decimal" else _WIDE

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        """What `unit` takes of the evaluated rows; None for a count of rows."""
        return None if self.column is None else rows[self.column]

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        """State columns of rows that are alone in their group."""
        rows = len(ts)
        if values is None:
            return {"n": pl.repeat(1, rows, dtype=pl.Int64, eager=True)}
        there = values.is_not_null()
        if self.name == "count":
            return {"n": there.cast(pl.Int64)}
        if self.name in ("sum", "mean"):
            kept = polars_dtype(self._sum_type)
            wide = values.cast(pl.Int128).cast(kept) if self._sum_type is _WIDE else values.cast(kept)
            return {"n": there.cast(pl.Int64), "v": wide.fill_null(0)}
        if self.name in ("first", "last"):
            return {"v": values, "t": ts}
        if self.name in ("min", "max"):
            return {"v": values}
        lists = values.to_frame("v").select(pl.concat_list("v")).to_series()
        if self.name == "collect":
            return {"v": lists}
        return {"v": lists.list.drop_nulls()}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        """States of groups 0 to `groups` - 1, each of which occurs. `states` are in order; `group` says whose each
        is.
        """
        made: dict[str, pl.Series] = {}
        if "n" in states:
            number = np.zeros(groups, np.int64)
            np.add.at(number, group.to_numpy(), states["n"].to_numpy())
            made["n"] = pl.Series(number)
        if "v" not in states:
            return made
        value = states["v"]
        if self.name in ("sum", "mean") and value.dtype.is_float():
            total = np.zeros(groups, np.float64)
            np.add.at(total, group.to_numpy(), value.to_numpy())
            return made | {"v": pl.Series(total)}
        frame = pl.DataFrame({GROUP: group, **states})
        if self.name in ("first", "last"):
            # arg_min and arg_max take any of several equal ones, by flags that say how a column happens to be sorted.
            t = pl.col("t")
            best = (
                pl.col("v").filter(t == t.min()).first()
                if self.name == "first"
                else pl.col("v").filter(t == t.max()).last()
            )
            folded = _by_group(frame, best.alias("v"), t.min() if self.name == "first" else t.max())
            return {"v": folded["v"], "t": folded["t"]}
        return made | {"v": _by_group(frame, self._combine().alias("v"))["v"]}

    def _combine(self) -> pl.Expr:
        v = pl.col("v")
        if self.name in ("sum", "mean"):
            return v.sum()
        if self.name == "min":
            return v.min()
        if self.name == "max":
            if self.of is not None and self.of.kind in ("float", "double"):  # NaN is the greatest number
                return pl.when(v.is_nan().any()).then(float("nan")).otherwise(v.max()).cast(polars_dtype(self.of))
            return v.max()
        items = v.explode(empty_as_null=False, keep_nulls=False)
        return items.unique(maintain_order=True).implode() if self.name == "count_distinct" else items.implode()

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        """At each state, what its group has come to with it. Rows of a group are in order, groups may alternate."""
        frame = pl.DataFrame({GROUP: group, **states})
        v, t = pl.col("v"), pl.col("t")
        if self.name == "count":
            expressions = [pl.col("n").cum_sum()]
        elif self.name in ("sum", "mean"):
            total = v.cast(pl.Int128).cum_sum().cast(v_dtype) if (v_dtype := _whole(states["v"])) else v.cum_sum()
            expressions = [pl.col("n").cum_sum(), total.alias("v")]
        elif self.name in ("first", "last"):
            # Where the row itself is the first (last) so far, it counts from there on.
            best = (t < t.cum_min().shift(1)) if self.name == "first" else (t >= t.cum_max().shift(1))
            mine = pl.when(best.fill_null(True)).then(pl.int_range(pl.len())).forward_fill()
            expressions = [v.gather(mine).alias("v"), t.gather(mine).alias("t")]
        elif self.name in ("min", "max"):
            return {"v": self._running_extreme(frame)}
        else:
            return {"v": self._running_lists(frame)}
        done = frame.select(e.over(GROUP) for e in expressions)
        return {name: done[name] for name in self.parts}

    def _running_extreme(self, frame: pl.DataFrame) -> pl.Series:
        """Of any type that has an order: by rank."""
        v = frame["v"]
        rank = v.rank("dense").cast(pl.Int64)  # NaN is the greatest number here too; null has no rank
        ranked = frame.with_columns(rank.alias("r"))
        r = pl.col("r").cum_min() if self.name == "min" else pl.col("r").cum_max()
        best = ranked.select(r.forward_fill().over(GROUP)).to_series()
        known = pl.DataFrame({"r": rank, "v": v}).drop_nulls("r").unique("r", keep="first")
        return best.to_frame("r").join(known, on="r", how="left", maintain_order="left")["v"]

    def _running_lists(self, frame: pl.DataFrame) -> pl.Series:
        so_far: dict[int, list[object]] = {}
        seen: dict[int, set[object]] = {}
        made: list[list[object]] = []
        for group, items in zip(frame[GROUP].to_list(), frame["v"].to_list(), strict=True):
            before = so_far.get(group, [])
            if self.name == "count_distinct":
                known = seen.setdefault(group, set())
                items = [i for i in items if i not in known]
                known.update(items)
            so_far[group] = before + items
            made.append(so_far[group])
        return pl.Series("v", made, dtype=frame["v"].dtype)

    def result(self, state: Columns) -> pl.Series:
        """Values of groups; null where `outcome` says that there is none."""
        dtype = polars_dtype(self.type)
        if self.name == "count":
            return state["n"].alias(self.field)
        value = state["v"]
        if self.name in ("sum", "mean"):
            some = state["n"] > 0
            if self.name == "mean":
                mean = value.cast(pl.Float64) / state["n"].cast(pl.Float64)
                return mean.zip_with(some, pl.Series([None], dtype=pl.Float64)).alias(self.field)
            plain = value.cast(pl.Int128).cast(dtype, strict=False) if self._sum_type is _WIDE else value.cast(dtype)
            return plain.zip_with(some, pl.Series([None], dtype=dtype)).alias(self.field)
        if self.name == "count_distinct":
            return value.list.len().cast(dtype).alias(self.field)
        if self.name == "join":
            return value.list.join(self.separator).alias(self.field)
        return value.cast(dtype).alias(self.field)

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        """The result, and why groups have none whose sum does not fit its type."""
        made = self.result(state)
        if self.name != "sum" or self._sum_type is not _WIDE:
            return made, None
        wrong = ~state["v"].cast(pl.Int128).is_between(_LONG_MIN, _LONG_MAX)
        return made, said(wrong, "overflow", f"fields.{self.field}: the sum does not fit 64 bits")


def _whole(value: pl.Series) -> pl.DataType | None:
    """The dtype of a sum of whole numbers, which polars adds up in Int128 only."""
    return value.dtype if isinstance(value.dtype, pl.Decimal) and value.dtype.scale == 0 else None


def _by_group(frame: pl.DataFrame, *folds: pl.Expr) -> pl.DataFrame:
    return frame.group_by(GROUP, maintain_order=True).agg(*folds).sort(GROUP)
