"""reduce as a function of windows: an expression makes the next value of the one before and the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from streamflow.model.types import Type, polars_dtype
from streamflow.operators.folding import Columns, Int64s
from streamflow.operators.stepwise import Stepwise, Taken, Why, unmerged
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS, Accumulation


@dataclass(frozen=True, slots=True)
class Reduced(Stepwise):
    """`combine` puts two values together, where windows need that. `labels`: how messages name the two expressions."""

    accumulation: Accumulation
    combine: Accumulation | None
    labels: tuple[str, str]

    @property
    def state(self) -> Type:
        return self.accumulation.type

    @property
    def merges(self) -> bool:
        return self.combine is not None

    @property
    def reads(self) -> frozenset[str]:
        return self.accumulation.columns

    def take(self, rows: pl.DataFrame, group: Int64s, fresh: Sequence[bool], before: pl.Series, *, each: bool) -> Taken:
        values, codes, after = self.accumulation.run(rows, group.tolist(), fresh, before)
        return Taken(values if each else after.gather(group), after, _wrong(codes, self.labels[0]))

    def merged(self, before: pl.Series, group: Int64s, states: pl.Series) -> tuple[pl.Series, dict[int, Why]]:
        assert self.combine is not None
        rows = states.alias("other").to_frame()
        values, codes, _ = self.combine.run(rows, group.tolist(), [False] * len(states), before)
        return values, _wrong(codes, self.labels[1])

    def outcome(self, state: Columns) -> tuple[pl.Series, pl.DataFrame | None]:
        return state["v"].cast(polars_dtype(self.state)).alias(self.field), unmerged(state)


def _wrong(codes: pl.Series | None, label: str) -> dict[int, Why]:
    if codes is None:
        return {}
    found = np.flatnonzero(codes.to_numpy()).tolist()
    return {
        i: (ITEM_ERROR_CODES.get(code, "failed"), f"{label}: {ITEM_ERROR_TEXTS.get(code, 'item failed')}")
        for i, code in zip(found, codes.gather(found).to_list(), strict=True)
    }
