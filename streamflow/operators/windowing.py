"""Windows whose edges are given by the clock: tumbling, hopping, and the one that never closes.

A step reads and writes the state of each of its groups once, however many rows it brings: in blocks of a window (see
`open_windows`), and where it never closes an entry for each group (see `group_states`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.operators.errors import join_failed
from streamflow.operators.explode import index_bytes
from streamflow.operators.group_keys import telling
from streamflow.operators.group_states import GroupStates
from streamflow.operators.open_windows import OpenWindows
from streamflow.operators.stepwise import Refused
from streamflow.operators.window_rows import (
    TIME_MS_MAX,
    Folds,
    Made,
    WindowRows,
    arriving,
    numbered,
    refuse,
    timed_path,
)
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes

Emit = Literal["update", "coalesced", "close"]
Int64s = npt.NDArray[np.int64]
STORE: Final = "windows"
_START: Final = "@:start"
_NUMBER: Final = b"\xff#"  # behind all windows that close
_NEVER: Final = np.int64(2**63 - 1)  # end of a window that never closes


@dataclass(frozen=True, slots=True)
class Aligned:
    """Windows `[start, start + size_ms)` that begin at multiples of `advance_ms`, never before 1970 for times after
    it. `size_ms` None: one window without end.
    """

    size_ms: int | None
    advance_ms: int = 0
    grace_ms: int = 0

    def starts(self, ts: Int64s) -> Int64s:
        """A row for each time, with the starts of all windows that hold it, earliest first."""
        if self.size_ms is None:
            return np.zeros((len(ts), 1), np.int64)
        count = -(-self.size_ms // self.advance_ms)
        last = ts - ts % self.advance_ms
        steps: Int64s = np.arange(count - 1, -1, -1, dtype=np.int64) * self.advance_ms
        return last[:, None] - steps[None, :]

    def ends(self, starts: Int64s) -> Int64s:
        return np.full_like(starts, _NEVER) if self.size_ms is None else starts + self.size_ms

    def open(self, ts: Int64s, wm: Int64s, starts: Int64s) -> npt.NDArray[np.bool_]:
        """Which of `starts` are windows that hold the row and take it still."""
        if self.size_ms is None:
            return np.ones(starts.shape, np.bool_)
        ends = starts + self.size_ms
        holds = (ends > ts[:, None]) & ((starts >= 0) | (ts < 0)[:, None])
        return holds & (ends + self.grace_ms > wm[:, None])


@dataclass(slots=True)
class WindowOperator:
    """Folds rows into windows. `labels` names the expressions of `projection` in messages."""

    rule: Aligned
    emit: Emit
    rows: WindowRows
    projection: Projection
    labels: Mapping[str, str]
    holds_ms: int = field(init=False)
    _open: OpenWindows = field(init=False)
    _endless: GroupStates = field(init=False)
    _changed: Made | None = field(init=False, default=None)  # coalesced: what this step has come to

    def __post_init__(self) -> None:
        self.holds_ms = self.rule.grace_ms
        self._open = OpenWindows(self.rows.folds)
        self._endless = GroupStates(self.rows.folds, prefix=b"\xff" * 8)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failures, filtered = arriving(inputs["in"], self.projection, self.labels, self._folds.keys)
        while True:
            try:
                return self._process(batch, values, failures, filtered, ctx)
            except Refused as refused:
                batch, values = refuse(batch, values, refused, failures)

    def _process(
        self, batch: Batch, values: pl.DataFrame, failures: list[Batch | None], filtered: int, ctx: Context
    ) -> Result:
        """Raises Refused before anything is written."""
        if not len(batch):
            return Result(failed=join_failed(failures), filtered=filtered)
        ts, wm = batch.frame[TS].to_numpy(), batch.frame[WM].to_numpy()
        starts = self.rule.starts(ts)
        is_open = self.rule.open(ts, wm, starts)
        taken = is_open.any(axis=1)
        outputs: dict[str, Batch] = {}
        if not taken.all():
            outputs["late"] = batch.where(pl.Series(~taken))
        if not taken.any():
            return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)
        of_row, which = np.nonzero(is_open)
        made = self._fold(batch.frame, self._folds.reading(batch, values), of_row, starts[of_row, which], ctx)
        if made is None:
            taken_rows = int(taken.sum())
            return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered, absorbed=taken_rows)
        outputs["out"] = made.fitting(batch, failures)
        return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Windows that closed come out, or those that changed; the state of closed ones goes."""
        changed, self._changed = self._changed, None
        result = self.rows.emitted(changed)
        if self.rule.size_ms is None:
            return result
        store = ctx.store(STORE)
        closed_ms = max(min(times.end_ms - self.rule.grace_ms, 2 * TIME_MS_MAX), -(2**63))
        if self.emit != "close":
            self._open.drop(store, closed_ms)
            return result
        done = self._open.close(store, closed_ms)
        if done is None:
            return result
        ends, states = done
        due = ends + self.rule.grace_ms
        return self.rows.emitted(
            self.rows.made(
                states,
                start=ends - self.rule.size_ms,
                end=ends,
                row=times.crossing(due),
                watermark=due - 1,
                ctx=ctx,
                path=timed_path(due),
                numbers=numbered(store, _NUMBER, len(due)),
            )
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        entries = [entry for entry in stores[STORE] if entry[0] != _NUMBER]
        if self.rule.size_ms is None:
            return self.rows.shown(self._endless.read(entries), *2 * (np.zeros(len(entries), np.int64),))
        ends, states = self._open.read(entries)
        return self.rows.shown(states, ends - self.rule.size_ms, ends)

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _fold(
        self, frame: pl.DataFrame, values: pl.DataFrame, of_row: Int64s, start: Int64s, ctx: Context
    ) -> Made | None:
        """Fold (row, window) pairs; what each of them gives, if each gives something."""
        evaluated = values.with_columns(frame[TS])
        one_each = np.array_equal(of_row, np.arange(frame.height))
        pairs = evaluated if one_each else evaluated[pl.Series(of_row, dtype=pl.UInt32)]
        groups = telling(self._folds.keys, pairs).with_columns(pl.Series(_START, start))
        group, first = groups_of(groups, groups.columns)
        count, end = len(first), self.rule.ends(start[first])
        store, groups = ctx.store(STORE), pairs.select(list(self._folds.keys.columns))[first]
        endless = self.rule.size_ms is None
        old = self._endless.find(store, groups) if endless else self._open.find(store, end, groups)
        known = np.empty(0, np.int64) if old is None else old.which
        before, each = None if old is None else old.states, self.emit == "update"
        pairs = self._folds.stepped(pairs, of_row, group, before, known, count, each=each)
        units = self._folds.units(pairs)
        if old is not None:
            states = pl.concat([old.states.cast(pl.Schema(units.schema)), units])
            whose = np.concatenate([old.which, group])
        else:
            states, whose = units, group
        owner = pl.Series(whose, dtype=pl.UInt32)
        now = self._folds.combined(states, owner, count)
        (self._endless if endless else self._open).keep(store, now)
        if self.emit == "close":
            return None
        if self.emit == "coalesced":
            last = np.zeros(count, np.int64)
            last[group] = np.arange(len(group))
            order = np.argsort(last, kind="stable")
            at, shown = last[order], now[pl.Series(order, dtype=pl.UInt32)]
        else:
            at = np.arange(len(group))
            shown = self._folds.running(states, owner).slice(len(states) - len(units))
        source = of_row[at]
        made = self.rows.made(
            shown,
            start=start[at],
            end=self.rule.ends(start[at]),
            row=frame[ROW].to_numpy()[source],
            watermark=frame[WM].to_numpy()[source],
            ctx=ctx,
            path=index_bytes(nth_of(source)),
            parents=frame[pl.Series(source, dtype=pl.UInt32)],
        )
        if self.emit == "update":
            return made
        self._changed = made
        return None


def groups_of(rows: pl.DataFrame, by: list[str]) -> tuple[Int64s, Int64s]:
    """(group number of each row, first row of each group), groups in the order in which they first come."""
    over = rows.with_row_index("@:i").select(pl.col("@:i").first().over(by)).to_series().to_numpy()
    begins = over == np.arange(rows.height)
    return (np.cumsum(begins) - 1)[over], np.flatnonzero(begins)


def nth_of(source: Int64s) -> pl.Series:
    """How often each row has come before: children of one row, in order."""
    if (source[1:] > source[:-1]).all():
        return pl.Series(np.zeros(len(source), np.int64))
    return pl.DataFrame({"s": source}).select(pl.int_range(pl.len()).over("s")).to_series()
