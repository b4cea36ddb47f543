"""The first row of each key, and no other within a span of event time around it.

State: one entry for each row that passed, `span in which it lies ‖ key`. Rows of a key that passed are at least
`within_ms` apart, so a span of that length holds one of them at most: a row has to look into its own span and the two
beside it, and what is forgotten lies at the front of the store.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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
    Int64s,
    arriving,
    clipped,
    forget_below,
    named_at,
    shown,
    timed_name,
)
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

STORE = "seen"
# A round lets one row of every key pass and drops what repeats it. Keys of which more rows pass in one step are rare;
# for what is left of them whole columns cost more than rows.
_ROUNDS_MAX = 8


@dataclass(slots=True)
class DedupeOperator:
    """Rows pass, or leave by the port `duplicates`; they are filtered where `keeps_repeats` is false.

    `labels` names the expressions of `projection` in messages.
    """

    projection: Projection
    labels: Mapping[str, str]
    within_ms: int
    grace_ms: int
    keeps_repeats: bool = True
    holds_ms: int = 0  # rows pass at once
    _codec: RowCodec = field(init=False)

    def __post_init__(self) -> None:
        self._codec = RowCodec(record_of({"ts": LONG}), name="Seen")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        rows = arriving(inputs["in"], self.projection, self.labels, grace_ms=self.grace_ms)
        if not len(rows.batch):
            return rows.result()
        fresh = pl.Series(self._fresh(rows, ctx.store(STORE)))
        rows.outputs["out"] = rows.batch.where(fresh)
        if not fresh.all():
            if self.keeps_repeats:
                rows.outputs["duplicates"] = rows.batch.where(~fresh)
            else:
                rows.filtered += int((~fresh).sum())
        return rows.result()

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Forget what no row that is not late can repeat any more."""
        over = clipped(times.end_ms) - self.within_ms - self.grace_ms + 1
        forget_below(ctx.store(STORE), over // self.within_ms)
        return Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """When items of a key passed, and the time around it in which others repeat them."""
        ts = self._codec.decode([value for _, value in stores[STORE]])["ts"].to_numpy()
        keys = [named_at(name)[1] for name, _ in stores[STORE]]
        passed = pl.Series("passed", ts).cast(pl.Datetime("ms", "UTC")).to_frame()
        return shown(keys, ts - self.within_ms + 1, ts + self.within_ms, passed)

    def _fresh(self, rows: Arrived, store: StateStore) -> Bools:
        ts = rows.ts
        span = ts // self.within_ms
        known_group, known_ts = self._known(rows, span, store)
        group = np.concatenate([known_group, rows.group])
        passed = passes(group, np.concatenate([known_ts, ts]), self.within_ms)[len(known_group) :]
        names = [
            timed_name(at, rows.names[g])
            for at, g in zip(span[passed].tolist(), rows.group[passed].tolist(), strict=True)
        ]
        store.put_many(names, self._codec.encode(pl.DataFrame({"ts": ts[passed]})))
        return passed

    def _known(self, rows: Arrived, span: Int64s, store: StateStore) -> tuple[Int64s, Int64s]:
        """(group, time) of rows that passed in earlier steps, near those of this one."""
        own = pl.DataFrame({"g": rows.group, "s": span}).unique()
        near = pl.concat([own.with_columns(pl.col("s") + beside) for beside in (-1, 0, 1)]).unique()
        group = near["g"].to_list()
        names = [timed_name(at, rows.names[g]) for at, g in zip(near["s"].to_list(), group, strict=True)]
        found = [(g, value) for g, value in zip(group, store.get_many(names), strict=True) if value is not None]
        values = self._codec.decode([value for _, value in found])
        return np.array([g for g, _ in found], np.int64), values["ts"].to_numpy()


def passes(group: Int64s, ts: Int64s, within_ms: int) -> Bools:
    """Which rows pass: those less than `within_ms` away from no row of their group that passed before them."""
    passed = np.zeros(len(ts), np.bool_)
    left = np.argsort(group, kind="stable")
    for _ in range(_ROUNDS_MAX):
        if not len(left):
            return passed
        begins = np.append(True, group[left[1:]] != group[left[:-1]])
        heads = left[begins]
        passed[heads] = True
        left = left[np.abs(ts[left] - ts[heads][np.cumsum(begins) - 1]) >= within_ms]
    seen: dict[int, list[int]] = {}  # all rows left are far enough from those that passed so far
    for row, g, at in zip(left.tolist(), group[left].tolist(), ts[left].tolist(), strict=True):
        before = seen.setdefault(g, [])
        i = bisect_left(before, at)
        if (i < len(before) and before[i] - at < within_ms) or (i and at - before[i - 1] < within_ms):
            continue
        insort(before, at)
        passed[row] = True
    return passed
