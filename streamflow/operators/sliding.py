"""Sliding windows: for each row what lies within `size` before it, and just behind it.

State (`sliding_state`): the rows. So a row is written once, whatever number of windows it is in; a window's value is
folded from its rows in order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.model.types import LONG
from streamflow.operators.errors import join_failed
from streamflow.operators.explode import index_bytes
from streamflow.operators.group_keys import telling
from streamflow.operators.sliding_state import GROUP, NUMBER, WM_THEN, SlidingState, framed, kept
from streamflow.operators.sliding_windows import Slide, Windows, doubtful, held, taken, windows_of
from streamflow.operators.window_rows import TIME_MS_MAX, Folds, Made, WindowRows, arriving, numbered, timed_path
from streamflow.operators.windowing import STORE, Emit, groups_of, nth_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes

Int64s = npt.NDArray[np.int64]
_CLOSED, _ARRIVED = b"n", b"q"
_NEVER: Final = 2**63 - 1


@dataclass(slots=True)
class SlidingOperator:
    """Keeps rows and folds them into sliding windows. `labels` names the expressions of `projection` in messages."""

    rule: Slide
    emit: Emit
    rows: WindowRows
    projection: Projection
    labels: Mapping[str, str]
    holds_ms: int = field(init=False)
    _state: SlidingState = field(init=False)
    _changed: Made | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.holds_ms = self.rule.size_ms + self.rule.grace_ms
        codec = self.rows.folds.codec({WM_THEN: LONG, NUMBER: LONG})
        self._state = SlidingState(codec, self.rule, closes=self.emit == "close")

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failures, filtered = arriving(inputs["in"], self.projection, self.labels, self._folds.keys)
        batch, values = self._folds.apart(batch, values, failures)
        if not len(batch):
            return Result(failed=join_failed(failures), filtered=filtered)
        store = ctx.store(STORE)
        group, first = groups_of(telling(self._folds.keys, values), list(self._folds.keys.columns))
        names = [framed(n) for n in self._folds.keys.names(values[pl.Series(first, dtype=pl.UInt32)])]
        wm = np.clip(batch.frame[WM].to_numpy(), -2 * TIME_MS_MAX, 2 * TIME_MS_MAX)
        number = numbered(store, _ARRIVED, len(batch)).to_numpy()
        new = self._folds.units(values.with_columns(batch.frame[TS])).with_columns(
            pl.Series(WM_THEN, wm), pl.Series(NUMBER, number), pl.Series(GROUP, group)
        )
        updates = self.emit != "close"
        arrived = kept(new)
        asked = np.arange(len(names)) if updates else doubtful(self.rule, arrived)
        old = self._state.load(store, names, asked)
        fits = taken(self.rule, kept(old), arrived)
        outputs = {} if fits.all() else {"late": batch.where(pl.Series(~fits))}
        new = new.filter(pl.Series(fits))
        self._state.keep(store, names, new)
        made = None
        if updates and len(new):
            states = pl.concat([old.cast(pl.Schema(new.schema)), new])
            made = self._updated(states, old.height, np.flatnonzero(fits), batch.frame, ctx)
        if made is None or self.emit == "coalesced":
            self._changed = made
            failed = join_failed(failures)
            return Result(outputs=outputs, failed=failed, filtered=filtered, absorbed=int(fits.sum()))
        outputs["out"] = made.fitting(batch, failures)
        return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Windows that closed come out, or those that changed; rows that no window needs any more go."""
        changed, self._changed = self._changed, None
        result = self.rows.emitted(changed)
        store = ctx.store(STORE)
        names = self._state.ringing(store, times.end_ms)
        if not names:
            return result
        states = self._state.load(store, names, np.arange(len(names)))
        given = self._state.given(store, names)
        self._state.forget(store, names, states, times.end_ms)
        if self.emit != "close":
            return result
        windows = windows_of(self.rule, kept(states))
        due = self.rule.due(windows.start)
        over = np.flatnonzero((due > given[windows.group]) & (due <= times.end_ms))
        windows = windows.where(over[np.lexsort((windows.group[over], due[over]))])
        closed, which = self._closed(states, windows)
        if closed is None:
            return result
        windows = windows.where(which)
        due = self.rule.due(windows.start)
        return self.rows.emitted(
            self.rows.made(
                closed,
                start=windows.start,
                end=windows.start + self.rule.size_ms,
                row=times.crossing(due),
                watermark=due - 1,
                ctx=ctx,
                path=timed_path(due),
                numbers=numbered(store, _CLOSED, len(due)),
            )
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Windows that have not been given."""
        states, given = self._state.read(stores[STORE])
        windows = windows_of(self.rule, kept(states))
        windows = windows.where(self.rule.due(windows.start) > given[windows.group])
        values, which = self._closed(states, windows)
        start = windows.start[which]
        return self.rows.shown(states.clear() if values is None else values, start, start + self.rule.size_ms)

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _closed(self, states: pl.DataFrame, windows: Windows) -> tuple[pl.DataFrame | None, Int64s]:
        """(what each window has come to, which windows those are): windows without rows are none."""
        parts: list[pl.DataFrame] = []
        which: list[Int64s] = []
        for window, row in held(self.rule, windows, kept(states)):
            there, owner = np.unique(window, return_inverse=True)
            if len(there):
                pairs = states[pl.Series(row, dtype=pl.UInt32)]
                parts.append(self._folds.combined(pairs, pl.Series(owner, dtype=pl.UInt32), len(there)))
                which.append(there)
        return (pl.concat(parts), np.concatenate(which)) if parts else (None, np.empty(0, np.int64))

    def _updated(self, states: pl.DataFrame, known: int, at: Int64s, frame: pl.DataFrame, ctx: Context) -> Made | None:
        """What each new row made of its windows. The first `known` states were there; `at`: row of each new one."""
        rows = kept(states)
        newest = rows.number[known]
        windows = windows_of(self.rule, rows)
        touched = pl.DataFrame({"g": rows.group[known:], "t": rows.ts[known:]})
        span = touched.group_by("g").agg(pl.col("t").min().alias("a"), pl.col("t").max().alias("b")).sort("g")
        low, high = np.full((2, int(rows.group.max()) + 1), _NEVER)
        low[span["g"].to_numpy()], high[span["g"].to_numpy()] = span["a"].to_numpy(), span["b"].to_numpy()
        reach = windows.start + self.rule.size_ms >= low[windows.group]
        windows = windows.where(reach & (windows.start <= high[windows.group] + 1))
        parts: list[pl.DataFrame] = []
        for window, row in held(self.rule, windows, rows):
            so_far = self._folds.running(states[pl.Series(row, dtype=pl.UInt32)], pl.Series(window, dtype=pl.UInt32))
            number, since = rows.number[row], windows.since[window]
            then = so_far.with_columns(pl.Series("@:w", window), pl.Series("@:by", number))
            parts.append(then.filter(pl.Series((number >= newest) & (number >= since))))
            # A window that begins just behind a new row holds what came before it.
            made = (since >= newest) & (number < since)
            if made.any():
                ends = np.append(window[1:] != window[:-1], True)
                before_maker = np.append(number[1:] > since[:-1], True)
                parts.append(
                    then.with_columns(pl.Series("@:by", since)).filter(pl.Series(made & (ends | before_maker)))
                )
        shown = pl.concat(parts).sort("@:by", "@:w")
        if self.emit == "coalesced":
            shown = shown.unique("@:w", keep="last", maintain_order=True).sort("@:by", "@:w")
        if not shown.height:
            return None
        of_window, by = shown["@:w"].to_numpy(), shown["@:by"].to_numpy()
        source = at[np.searchsorted(rows.number[known:], by)]
        parents = frame[pl.Series(source, dtype=pl.UInt32)]
        start = windows.start[of_window]
        return self.rows.made(
            shown.drop("@:w", "@:by"),
            start=start,
            end=start + self.rule.size_ms,
            row=parents[ROW].to_numpy(),
            watermark=parents[WM].to_numpy(),
            ctx=ctx,
            path=index_bytes(nth_of(source)),
            parents=parents,
        )
