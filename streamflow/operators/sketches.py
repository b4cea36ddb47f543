"""Approximate functions in little state: distinct counts and quantiles. Both are the same whatever the order of rows,
and states merge exactly, so a cut into steps or the merging of windows shows nowhere. Only whole numbers are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import DOUBLE, INT, LONG, Type, array_of, record_of
from streamflow.operators.folding import GROUP, Associative, Columns, exploded, lists_of, singles
from streamflow.operators.hashing import hashes
from streamflow.operators.hyperloglog import REGISTER_BITS, estimates, registers

# Quantiles: buckets are the first 6 bits behind the leading one of a number, 64 for each power of two. The middle of a
# bucket is then within 1/128 of all in it.
_DROPPED_BITS: Final = 46


@dataclass(frozen=True, slots=True)
class ApproxCountDistinct(Associative):
    """HyperLogLog with 4,096 registers: the standard error is 1.6 %, and small counts are nearly exact. State: those
    registers that are set, each one number.
    """

    field: str
    column: str
    of: Type
    type: Type = LONG

    @property
    def parts(self) -> dict[str, Type]:
        return {"r": array_of(INT)}

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows[self.column]

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        del ts
        assert values is not None
        found = pl.Series(registers(hashes(values, self.of)), dtype=pl.Int32)
        nothing = pl.Series([None], dtype=pl.Int32)
        return {"r": singles(found.zip_with(values.is_not_null(), nothing))}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        found, whose = exploded(states["r"], group)
        frame = pl.DataFrame({GROUP: whose, "r": found, "i": found // (1 << REGISTER_BITS)})
        best = frame.group_by(GROUP, "i").agg(pl.col("r").max()).sort(GROUP, "i")
        return {"r": lists_of(best["r"], best[GROUP].to_numpy(), groups)}

    def result(self, state: Columns) -> pl.Series:
        whole = pl.int_range(0, len(state["r"]), eager=True)
        found, whose = exploded(state["r"], whole)
        return pl.Series(self.field, estimates(found.to_numpy(), whose, len(whole)))


@dataclass(frozen=True, slots=True)
class Quantiles(Associative):
    """Values at `ranks` (0 the least, 1 the greatest), each within 0.8 % of one that is exact; the least and the
    greatest are exact. State: how many values each bucket of relative width has.
    """

    field: str
    column: str
    ranks: tuple[float, ...]
    type: Type

    @property
    def parts(self) -> dict[str, Type]:
        buckets = array_of(record_of({"k": LONG, "n": LONG}))
        return {"l": buckets, "low": DOUBLE.optional(), "high": DOUBLE.optional()}

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows[self.column]

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        del ts
        assert values is not None
        x = values.cast(pl.Float64).fill_nan(None)
        frame = pl.DataFrame({"x": x, "k": _bucket(x.fill_null(0).to_numpy())})
        one = pl.when(pl.col("x").is_not_null()).then(pl.struct(k=pl.col("k"), n=pl.lit(1, pl.Int64)))
        return {"l": singles(frame.select(one).to_series()), "low": x, "high": x}

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        buckets, whose = exploded(states["l"], group)
        frame = pl.DataFrame({GROUP: whose, "b": buckets}).unnest("b")
        counts = frame.group_by(GROUP, "k").agg(pl.col("n").sum()).sort(GROUP, "k")
        edges = pl.DataFrame({GROUP: group, "low": states["low"], "high": states["high"]})
        edges = edges.group_by(GROUP).agg(pl.col("low").min(), pl.col("high").max()).sort(GROUP)
        kept = counts.select(pl.struct("k", "n")).to_series()
        return {"l": lists_of(kept, counts[GROUP].to_numpy(), groups), "low": edges["low"], "high": edges["high"]}

    def result(self, state: Columns) -> pl.Series:
        whole = pl.int_range(0, len(state["l"]), eager=True)
        buckets, whose = exploded(state["l"], whole)
        frame = pl.DataFrame({GROUP: whose, "b": buckets}).unnest("b")
        frame = frame.with_columns(
            pl.Series("x", _middle(frame["k"].to_numpy())), up_to=pl.col("n").cum_sum().over(GROUP)
        )
        last = pl.col("n").sum() - 1
        wanted = [
            pl.col("x").filter(pl.col("up_to") > (last * rank).floor()).first().alias(f"q{i}")
            for i, rank in enumerate(self.ranks)
        ]
        found = frame.group_by(GROUP).agg(wanted)
        every = pl.DataFrame({GROUP: whole, "low": state["low"], "high": state["high"]})
        made = every.join(found, on=GROUP, how="left", maintain_order="left")
        names = [f"q{i}" for i in range(len(self.ranks))]
        exact = [
            pl.col("low")
            if rank == 0
            else pl.col("high")
            if rank == 1
            else pl.col(n).clip(pl.col("low"), pl.col("high"))
            for n, rank in zip(names, self.ranks, strict=True)
        ]
        return made.select(
            pl.when(pl.col("low").is_not_null()).then(pl.concat_list(exact)).alias(self.field)
        ).to_series()


def _bucket(x: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Numbers of buckets, in the order of the values: 0 holds zero, negative ones lie below."""
    size = (np.abs(x).view(np.int64) >> _DROPPED_BITS) + 1
    return np.where(x == 0, 0, np.where(x < 0, -size, size))


def _middle(bucket: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    size = np.maximum(np.abs(bucket) - 1, 0)
    low = (size << _DROPPED_BITS).view(np.float64)
    middle = ((size << _DROPPED_BITS) + (1 << (_DROPPED_BITS - 1))).view(np.float64)
    return np.where(bucket == 0, 0.0, np.sign(bucket) * np.where(np.isinf(low), low, middle))
