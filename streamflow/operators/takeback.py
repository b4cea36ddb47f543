"""Functions of items that may be taken back: counts and sums of whole numbers subtract, all others keep what is there.

An item may be taken back before it comes, where the two are on their way through different topics: then it is owed, and
cancels the item when that is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from streamflow.model.types import LONG, Type, array_of, record_of
from streamflow.operators.folding import Columns, Folding, exploded, singles
from streamflow.operators.folds import Fold

SIGN: Final = "@:sign"  # of an evaluated row: 1 for an item that comes, -1 for one that is taken back


def takes_back(fold: Folding) -> Folding | None:
    """`fold` over rows with a sign; None if it cannot take items back."""
    if not isinstance(fold, Fold):
        return None
    return Signed(fold) if fold.name in ("count", "sum", "mean") and fold.exact else Kept(fold)


@dataclass(frozen=True, slots=True)
class Signed:
    """count, and sum and mean where these are exact: what is taken back is subtracted."""

    fold: Fold

    @property
    def field(self) -> str:
        return self.fold.field

    @property
    def parts(self) -> dict[str, Type]:
        return self.fold.parts

    @property
    def exact(self) -> bool:
        return True

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        of = self.fold.column or SIGN
        return rows.select(pl.struct(v=of, s=SIGN)).to_series()

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        assert values is not None
        plain = self.fold.unit(values.struct.field("v") if self.fold.column else None, ts)
        frame = pl.DataFrame({**plain, "s": values.struct.field("s")})
        signed = frame.select(pl.when(pl.col("s") < 0).then(-pl.col(p)).otherwise(pl.col(p)).alias(p) for p in plain)
        return signed.to_dict()

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        return self.fold.combined(states, group, groups)

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        return self.fold.running(states, group)

    def result(self, state: Columns) -> pl.Series:
        return self.fold.result(state)

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        return self.fold.outcome(state)


@dataclass(frozen=True, slots=True)
class Kept:
    """Functions that need what is there: all values of a group are kept, in order of arrival. So a group's state, and
    the work for each of its rows, is as large as the group.
    """

    fold: Fold

    @property
    def field(self) -> str:
        return self.fold.field

    @property
    def parts(self) -> dict[str, Type]:
        """`l`: values that are there, `o`: those that are owed."""
        assert self.fold.of is not None
        of = self.fold.of if self.fold.of.kind == "any" else self.fold.of.optional()
        items = array_of(record_of({"v": of, "t": LONG}))
        return {"l": items, "o": items}

    @property
    def exact(self) -> bool:
        return False

    def values(self, rows: pl.DataFrame) -> pl.Series | None:
        return rows.select(pl.struct(v=self.fold.column, s=SIGN)).to_series()

    def unit(self, values: pl.Series | None, ts: pl.Series) -> dict[str, pl.Series]:
        frame = pl.DataFrame({"x": values, "t": ts}).unnest("x")
        item = pl.struct("v", "t")
        return {
            "l": singles(frame.select(pl.when(pl.col("s") > 0).then(item)).to_series()),
            "o": singles(frame.select(pl.when(pl.col("s") < 0).then(item)).to_series()),
        }

    def combined(self, states: Columns, group: pl.Series, groups: int) -> dict[str, pl.Series]:
        whose = group.to_list()
        last = {g: i for i, g in enumerate(whose)}
        at = pl.Series([last[g] for g in range(groups)], dtype=pl.UInt32)
        return {part: series.gather(at) for part, series in self.running(states, group).items()}

    def running(self, states: Columns, group: pl.Series) -> dict[str, pl.Series]:
        there: dict[int, list[Any]] = {}
        owed: dict[int, list[Any]] = {}
        made: dict[str, list[list[Any]]] = {"l": [], "o": []}
        for g, come, gone in zip(group.to_list(), states["l"].to_list(), states["o"].to_list(), strict=True):
            here, debts = there.setdefault(g, []), owed.setdefault(g, [])
            _settle(come, debts, here)
            _settle(gone, here, debts)
            made["l"].append(list(here))
            made["o"].append(list(debts))
        return {part: pl.Series(lists, dtype=states[part].dtype) for part, lists in made.items()}

    def result(self, state: Columns) -> pl.Series:
        """Null for groups that nothing is in."""
        some = state["l"].list.len() > 0
        items, whose = exploded(state["l"].filter(some), pl.int_range(0, int(some.sum()), eager=True))
        units = self.fold.unit(items.struct.field("v"), items.struct.field("t"))
        made = self.fold.result(self.fold.combined(units, pl.Series(whose, dtype=pl.UInt32), int(some.sum())))
        place = some.cast(pl.UInt32).cum_sum() - 1
        return made.gather(place.set(~some, None))

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        return self.result(state), None


def _settle(items: Iterable[Any], against: list[Any], onto: list[Any]) -> None:
    """Each item cancels one like it, best of the same time; what finds none is put down."""
    for item in items:
        alike = [i for i, other in enumerate(against) if _same(item["v"], other["v"])]
        best = next((i for i in alike if against[i]["t"] == item["t"]), alike[0] if alike else None)
        if best is None:
            onto.append(item)
        else:
            del against[best]


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
