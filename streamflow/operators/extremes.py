"""max_by, min_by and top: values at the extremes of another value. Of rows with equal extremes the earliest event time
decides, and then arrival, so that windows that merge give the same whatever came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import LONG, Type, array_of, polars_dtype, record_of
from streamflow.operators.folding import GROUP, Associative, Columns, Int64s, exploded, lists_of, singles


@dataclass(frozen=True, slots=True)
class Extreme(Associative):
    """max_by and min_by: `column` where `by` is greatest or least. `type`: of the result."""

    field: str
    name: Literal["max_by", "min_by"]
    column: str
    by: str
    of: Type
    by_type: Type
    type: Type

    @property
    def parts(self) -> dict[str, Type]:
        of = self.of if self.of.kind == "any" else self.of.optional()
        return {"v": of, "b": self.by_type.optional(), "t": LONG}

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows.select(pl.struct(v=self.column, b=self.by)).to_series()

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        assert values is not None
        b = values.struct.field("b")
        nothing = b"null" if self.of.kind == "any" else None
        v = values.to_frame("s").select(
            pl.when(pl.col("s").struct.field("b").is_null())
            .then(pl.lit(nothing, values.struct.field("v").dtype))
            .otherwise(pl.col("s").struct.field("v"))
        )
        return {"v": v.to_series(), "b": b, "t": ts}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        whose = group.to_numpy()
        order = np.lexsort((states["t"].to_numpy(), -self._score(states["b"]), whose))
        best = pl.Series(order[np.searchsorted(whose[order], np.arange(groups))], dtype=pl.UInt32)
        return {part: states[part].gather(best) for part in self.parts}

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        score, t = self._score(states["b"]), states["t"].to_numpy()
        order = np.lexsort((t, -score))
        better = np.append(False, (np.diff(score[order]) != 0) | (np.diff(t[order]) != 0))[: len(order)]
        place = np.empty(len(order), np.int64)
        place[order] = np.cumsum(better)  # 0 is the best of all
        frame = pl.DataFrame({GROUP: group, "p": place}).with_row_index("i")
        before = pl.col("p").cum_min().shift(1)
        mine = pl.when((pl.col("p") < before).fill_null(True)).then(pl.col("i")).forward_fill()
        best = frame.select(mine.over(GROUP)).to_series()
        return {part: states[part].gather(best) for part in self.parts}

    def result(self, state: Columns) -> pl.Series:
        return state["v"].cast(polars_dtype(self.type)).alias(self.field)

    def _score(self, by: pl.Series) -> Int64s:
        """The greater, the better; 0 is nothing."""
        score = _ranks(by)
        return score if self.name == "max_by" else np.where(score > 0, score.max(initial=0) + 1 - score, 0)


@dataclass(frozen=True, slots=True)
class Top(Associative):
    """The `count` greatest values of `by`, greatest first, each with its `column`; without `by` the values alone."""

    field: str
    column: str
    by: str | None
    of: Type
    by_type: Type
    type: Type
    count: int

    @property
    def parts(self) -> dict[str, Type]:
        of = self.of if self.of.kind == "any" else self.of.optional()
        return {"l": array_of(record_of({"v": of, "b": self.by_type.required(), "t": LONG}))}

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows.select(pl.struct(v=self.column, b=self.by or self.column)).to_series()

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        assert values is not None
        one = pl.col("s").struct
        kept = pl.struct(v=one.field("v"), b=one.field("b"), t=pl.col("t"))
        frame = pl.DataFrame({"s": values, "t": ts})
        return {"l": singles(frame.select(pl.when(one.field("b").is_not_null()).then(kept)).to_series())}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        items, whose = exploded(states["l"], group)
        score = _ranks(items.struct.field("b"))
        order = np.lexsort((items.struct.field("t").to_numpy(), -score, whose))
        whose = whose[order]
        nth = np.arange(len(order)) - np.searchsorted(whose, whose)
        kept = nth < self.count
        return {"l": lists_of(items.gather(pl.Series(order[kept], dtype=pl.UInt32)), whose[kept], groups)}

    def result(self, state: Columns) -> pl.Series:
        one = pl.element().struct
        shown = pl.struct(value=one.field("v"), by=one.field("b")) if self.by is not None else one.field("b")
        return state["l"].list.eval(shown).cast(polars_dtype(self.type)).alias(self.field)


def _ranks(values: pl.Series) -> npt.NDArray[np.int64]:
    """Dense ranks from 1, NaN the greatest number; 0 for null."""
    return values.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
