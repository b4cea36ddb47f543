"""So many rows of each key in every period of event time.

State: one entry for each key and period that is open, `end of the period ‖ key`: how many rows passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import Batch
from streamflow.model.types import LONG, record_of
from streamflow.operators.keyed import (
    Arrived,
    Bools,
    arriving,
    clipped,
    forget_below,
    named_at,
    nth_of_key,
    shown,
    timed_name,
)
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

STORE = "counts"


@dataclass(slots=True)
class ThrottleOperator:
    """Rows pass, or leave by the port `over`; they are filtered where `keeps_rest` is false.

    `labels` names the expressions of `projection` in messages.
    """

    projection: Projection
    labels: Mapping[str, str]
    count: int
    per_ms: int
    grace_ms: int
    keeps_rest: bool = True
    holds_ms: int = 0  # rows pass at once
    _codec: RowCodec = field(init=False)

    def __post_init__(self) -> None:
        self._codec = RowCodec(record_of({"n": LONG}), name="Passed")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        rows = arriving(inputs["in"], self.projection, self.labels, grace_ms=self.grace_ms)
        if not len(rows.batch):
            return rows.result()
        under = pl.Series(self._under(rows, ctx.store(STORE)))
        rows.outputs["out"] = rows.batch.where(under)
        if not under.all():
            if self.keeps_rest:
                rows.outputs["over"] = rows.batch.where(~under)
            else:
                rows.filtered += int((~under).sum())
        return rows.result()

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Forget the periods in which every further row would be late."""
        forget_below(ctx.store(STORE), clipped(times.end_ms) - self.grace_ms + 1)
        return Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        named = [named_at(name) for name, _ in stores[STORE]]
        end = np.array([at for at, _ in named], np.int64)
        passed = self._codec.decode([value for _, value in stores[STORE]]).select(passed="n")
        return shown([key for _, key in named], end - self.per_ms, end, passed)

    def _under(self, rows: Arrived, store: StateStore) -> Bools:
        ends = rows.ts - rows.ts % self.per_ms + self.per_ms
        pairs = pl.DataFrame({"g": rows.group, "e": ends})
        number = pairs.with_row_index("i").select(pl.col("i").first().over("g", "e")).to_series().to_numpy()
        first, of = np.unique(number, return_inverse=True)
        names = [
            timed_name(end, rows.names[g])
            for end, g in zip(ends[first].tolist(), rows.group[first].tolist(), strict=True)
        ]
        found = store.get_many(names)
        before = np.zeros(len(first), np.int64)
        known = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
        before[known] = self._codec.decode([value for value in found if value is not None])["n"].to_numpy()
        under: Bools = before[of] + nth_of_key(of) < self.count
        after = np.minimum(before + np.bincount(of, minlength=len(first)), self.count)
        changed = np.flatnonzero(after != before)
        store.put_many([names[i] for i in changed.tolist()], self._codec.encode(pl.DataFrame({"n": after[changed]})))
        return under
