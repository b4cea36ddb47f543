"""The last row of each burst of a key.

State: for each key the pieces of its bursts that are not over, in order of time. A piece is a span of event time and
the latest row in it. Without a longest wait pieces of one burst become one piece as they come. With one, where a burst
ends depends on all of its times: so rows stay pieces of their own until time has passed them and nothing can come
between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.model.types import LONG, PAYLOAD, Schema, Type
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.key_lists import KeyLists, Lists
from streamflow.operators.keyed import Bools, Int64s, arriving, shown
from streamflow.operators.window_rows import timed_path
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes

STORE = "bursts"
# Columns of pieces. A piece ends at its row's own time.
_FIRST, _GROUP, _BURST, _DUE = "@:first", "@:group", "@:burst", "@:due"


@dataclass(slots=True)
class DebounceOperator:
    """Rows wait, and the last of a burst comes out. `labels` names the expressions of `projection` in messages."""

    projection: Projection
    labels: Mapping[str, str]
    schema: Schema
    earlier: Mapping[str, Schema]
    quiet_ms: int
    at_most_ms: int | None
    grace_ms: int
    remembered: Mapping[str, Type] = field(default_factory=dict)  # by loops across topics
    holds_ms: int = field(init=False)
    _rows: KeptRows = field(init=False)

    def __post_init__(self) -> None:
        waits_ms = self.quiet_ms if self.at_most_ms is None else min(self.quiet_ms, self.at_most_ms)
        self.holds_ms = waits_ms + self.grace_ms
        self._rows = KeptRows(self.schema, self.earlier, {_FIRST: LONG}, remembered=self.remembered)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        rows = arriving(inputs["in"], self.projection, self.labels, grace_ms=self.grace_ms)
        if not len(rows.batch):
            return rows.result()
        lists = KeyLists(ctx.store(STORE))
        before = lists.load(rows.names)
        new = rows.batch.frame.drop(ROW, WM).with_columns(
            pl.col(TS).alias(_FIRST), pl.Series(_GROUP, rows.group, dtype=pl.Int64)
        )
        pieces = pl.concat([self._decode(before), new], how="diagonal")
        settled_ms = int(rows.wm[-1]) - self.grace_ms  # nothing comes below it any more
        self._keep(lists, before, self._joined(self._bursts(pieces), settled_ms))
        return rows.result(absorbed=len(rows.batch))

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """The last rows of bursts that are over come out."""
        lists = KeyLists(ctx.store(STORE))
        names = lists.ringing(times.end_ms)
        if not names:
            return Result()
        before = lists.load(names, rung_ms=times.end_ms)
        pieces = self._bursts(self._decode(before))
        pieces = pieces.with_columns(pl.Series(_DUE, self._due(pieces)))
        over = pl.col(_DUE) <= times.end_ms
        self._keep(lists, before, pieces.filter(~over))
        last = pieces.filter(over).group_by(_BURST, maintain_order=True).last()
        return self._out(last, times) if last.height else Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The latest item of each piece of a burst, with the time of the piece."""
        keys, values = KeyLists.read(stores[STORE])
        rows = self._rows.decode(values)
        items = rows.select(c for c in rows.columns if not c.startswith("@") or c == PAYLOAD)
        return shown(keys, rows[_FIRST], rows[TS] + 1, items)

    def _out(self, rows: pl.DataFrame, times: StepTimes) -> Result:
        rows = rows.sort(_DUE, _GROUP)  # groups are in order of their names
        due = rows[_DUE].to_numpy()
        frame = rows.drop(c for c in rows.columns if c.startswith("@:")).with_columns(
            pl.Series(ROW, times.crossing(due), dtype=pl.UInt32),
            pl.Series(WM, due - 1, dtype=pl.Int64),
            timed_path(due),
        )
        return Result(outputs={"out": Batch(frame, self.schema)}, emitted=frame.height)

    def _decode(self, lists: Lists) -> pl.DataFrame:
        return self._rows.decode(lists.values).with_columns(pl.Series(_GROUP, lists.group, dtype=pl.Int64))

    def _bursts(self, pieces: pl.DataFrame) -> pl.DataFrame:
        """Pieces by burst, each with the number of its own, in order of time; of equal times the one that came later
        stands behind.
        """
        pieces = pieces.sort([_GROUP, _FIRST], maintain_order=True)
        group, first = pieces[_GROUP].to_numpy(), pieces[_FIRST].to_numpy()
        latest = pieces.select(pl.col(TS).cum_max().over(_GROUP)).to_series().to_numpy()
        begins = np.ones(pieces.height, np.bool_)
        begins[1:] = (group[1:] != group[:-1]) | (first[1:] - latest[:-1] >= self.quiet_ms)
        if self.at_most_ms is not None:
            _cut(begins, first, self.at_most_ms)
        burst = np.cumsum(begins)
        return pieces.with_columns(pl.Series(_BURST, burst)).sort([_BURST, TS], maintain_order=True)

    def _joined(self, pieces: pl.DataFrame, settled_ms: int) -> pl.DataFrame:
        """Pieces of a burst that nothing can come between any more as one: of them the latest row stays."""
        begins = pl.col(_FIRST).min().over(_BURST)
        if self.at_most_ms is None:
            return pieces.with_columns(begins).group_by(_BURST, maintain_order=True).last().select(pieces.columns)
        part = pl.when(pl.col(TS) < settled_ms).then(-1).otherwise(pl.int_range(pl.len()))
        grouped = pieces.with_columns(part.alias("@:part")).group_by(_BURST, "@:part", maintain_order=True)
        first = pl.col(_FIRST).min().alias("@:began")
        joined = grouped.agg(pl.all().last(), first)
        return joined.with_columns(pl.col("@:began").alias(_FIRST)).select(pieces.columns)

    def _due(self, pieces: pl.DataFrame) -> Int64s:
        """When the burst of each piece is over."""
        by = pieces.select(pl.col(_FIRST).min().over(_BURST).alias("f"), pl.col(TS).max().over(_BURST).alias("l"))
        due: Int64s = by["l"].to_numpy() + self.quiet_ms
        if self.at_most_ms is not None:
            due = np.minimum(due, by["f"].to_numpy() + self.at_most_ms)
        return due + self.grace_ms

    def _keep(self, lists: KeyLists, before: Lists, pieces: pl.DataFrame) -> None:
        values: dict[int, list[bytes]] = {}
        due: dict[int, int] = {}
        encoded = self._rows.encode(pieces)
        for group, at, value in zip(pieces[_GROUP].to_list(), self._due(pieces).tolist(), encoded, strict=True):
            values.setdefault(group, []).append(value)
            due.setdefault(group, at)
        lists.keep(before, values, due)


def _cut(begins: Bools, first: Int64s, at_most_ms: int) -> None:
    """Begin a new burst at the first piece that is `at_most_ms` behind its burst's beginning. Walks from cut to cut."""
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(first))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if first[end - 1] - first[start] < at_most_ms:
            continue
        times = first[start:end].tolist()
        at = 0
        while (at := bisect_left(times, times[at] + at_most_ms, at + 1)) < len(times):
            begins[start + at] = True
