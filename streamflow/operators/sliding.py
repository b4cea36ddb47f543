"""Sliding windows: for each row what lies within `size` before it, and just behind it.

State: each row by itself, `group ‖ event time ‖ number of arrival`, until the last window that it may be in has closed;
and for each group the time up to which its windows were given, and for which its timer is set. So a row is written
once, whatever number of windows it is in; a window's value is folded from its rows in order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.model.types import LONG
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.explode import index_bytes
from streamflow.operators.sliding_windows import Kept, Slide, Windows, doubtful, held, taken, windows_of
from streamflow.operators.timers import StoreTimers
from streamflow.operators.window_rows import TIME_MS_MAX, Folds, Made, WindowRows, arriving, numbered, timed_path
from streamflow.operators.windowing import STORE, Emit, groups_of, nth_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
_ROWS, _GROUPS, _TIMERS, _CLOSED, _ARRIVED = b"r", b"g", b"t", b"n", b"q"
_GROUP, _WM, _NUMBER = "@:g", "wm", "number"
_SHIFT: Final = 1 << 63
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
    _codec: RowCodec = field(init=False)
    _changed: Made | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.holds_ms = self.rule.size_ms + self.rule.grace_ms
        self._codec = self.rows.folds.codec({_WM: LONG, _NUMBER: LONG})

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failures, filtered = arriving(inputs["in"], self.projection, self.labels, self._folds.keys)
        if not len(batch):
            return Result(failed=join_failed(failures), filtered=filtered)
        store = ctx.store(STORE)
        group, first = groups_of(values, list(self._folds.keys.columns))
        names = [_framed(n) for n in self._folds.keys.names(values[pl.Series(first, dtype=pl.UInt32)])]
        wm = np.clip(batch.frame[WM].to_numpy(), -2 * TIME_MS_MAX, 2 * TIME_MS_MAX)
        number = _numbers(store, len(batch))
        new = self._folds.units(values.with_columns(batch.frame[TS])).with_columns(
            pl.Series(_WM, wm), pl.Series(_NUMBER, number), pl.Series(_GROUP, group)
        )
        updates = self.emit != "close"
        arrived = _kept(new)
        asked = np.arange(len(names)) if updates else doubtful(self.rule, arrived)
        old = self._load(store, names, asked)
        fits = taken(self.rule, _kept(old), arrived)
        outputs = {} if fits.all() else {"late": batch.where(pl.Series(~fits))}
        new = new.filter(pl.Series(fits))
        self._keep(store, names, new)
        made = None
        if updates and len(new):
            states = pl.concat([old.cast(pl.Schema(new.schema)), new])
            made = self._updated(states, old.height, np.flatnonzero(fits), batch.frame, ctx)
        if made is None or self.emit == "coalesced":
            self._changed = made
            failed = join_failed(failures)
            return Result(outputs=outputs, failed=failed, filtered=filtered, absorbed=int(fits.sum()))
        outputs["out"] = made.rows
        if made.bad is not None:
            # A row whose result does not fit in one of its windows fails as a whole: it has one fate.
            fails = made.rows.frame.filter(made.bad)[ROW].unique().implode()
            failures.append(fail(batch.where(batch.frame[ROW].is_in(fails)), "overflow", made.message))
            outputs["out"] = made.rows.where(~made.rows.frame[ROW].is_in(fails))
        return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Windows that closed come out, or those that changed; rows that no window needs any more go."""
        changed, self._changed = self._changed, None
        result = Result()
        if changed is not None:
            made, failed = self.rows.from_state(changed)
            result = Result(outputs={"out": made}, failed=failed, emitted=len(made))
        store = ctx.store(STORE)
        ringing = StoreTimers(store, prefix=_TIMERS).due(times.end_ms)
        if not ringing:
            return result
        names = sorted({name for _, name in ringing})
        states = self._load(store, names, np.arange(len(names)))
        given = np.array([_read(store.get(_GROUPS + name))[0] for name in names], np.int64)
        self._forget(store, names, states, times.end_ms)
        if self.emit != "close":
            return result
        windows = windows_of(self.rule, _kept(states))
        due = self.rule.due(windows.start)
        over = np.flatnonzero((due > given[windows.group]) & (due <= times.end_ms))
        windows = windows.where(over[np.lexsort((windows.group[over], due[over]))])
        closed, which = self._closed(states, windows)
        if closed is None:
            return result
        windows = windows.where(which)
        due = self.rule.due(windows.start)
        made, failed = self.rows.from_state(
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
        return Result(outputs={"out": made}, failed=failed, emitted=len(made))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Windows that have not been given, as they would be now."""
        entries = stores[STORE]
        rows = [(name[len(_ROWS) : -16], value) for name, value in entries if name.startswith(_ROWS)]
        states, nowhere = self._codec.decode([value for _, value in rows]), np.empty(0, np.int64)
        if not rows:
            return self.rows.shown(states, nowhere, nowhere)
        groups = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in rows))}
        states = states.with_columns(pl.Series(_GROUP, [groups[name] for name, _ in rows], dtype=pl.Int64))
        told = {name[len(_GROUPS) :]: _read(value)[0] for name, value in entries if name.startswith(_GROUPS)}
        given = np.array([told.get(name, -_SHIFT) for name in groups], np.int64)
        windows = windows_of(self.rule, _kept(states))
        windows = windows.where(np.flatnonzero(self.rule.due(windows.start) > given[windows.group]))
        open_, which = self._closed(states, windows)
        if open_ is None:
            return self.rows.shown(states.clear(), nowhere, nowhere)
        start = windows.start[which]
        return self.rows.shown(open_, start, start + self.rule.size_ms)

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _closed(self, states: pl.DataFrame, windows: Windows) -> tuple[pl.DataFrame | None, Int64s]:
        """(what each window has come to, which windows those are): windows without rows are none."""
        parts: list[pl.DataFrame] = []
        which: list[Int64s] = []
        for window, row in held(self.rule, windows, _kept(states)):
            there, owner = np.unique(window, return_inverse=True)
            if len(there):
                pairs = states[pl.Series(row, dtype=pl.UInt32)]
                parts.append(self._folds.combined(pairs, pl.Series(owner, dtype=pl.UInt32), len(there)))
                which.append(there)
        return (pl.concat(parts), np.concatenate(which)) if parts else (None, np.empty(0, np.int64))

    def _updated(self, states: pl.DataFrame, known: int, at: Int64s, frame: pl.DataFrame, ctx: Context) -> Made | None:
        """What each new row made of its windows. The first `known` states were there; `at`: row of each new one."""
        rows = _kept(states)
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

    def _load(self, store: StateStore, names: Sequence[bytes], asked: Int64s) -> pl.DataFrame:
        """Rows of the groups `asked` for, by group and time."""
        values: list[bytes] = []
        group: list[int] = []
        for i in asked.tolist():
            stem = _ROWS + names[i]
            found = [value for _, value in store.scan(stem, stem + b"\xff" * 17)]
            values += found
            group += [i] * len(found)
        return self._codec.decode(values).with_columns(pl.Series(_GROUP, group, dtype=pl.Int64))

    def _keep(self, store: StateStore, names: Sequence[bytes], new: pl.DataFrame) -> None:
        """Write new rows, and set timers of groups where none rings early enough."""
        if not new.height:
            return
        store.put_many(_row_names(names, new), self._codec.encode(new.drop(_GROUP)))
        rows = _kept(new)
        due = self._wakes(rows.ts, rows.wm)
        first = pl.DataFrame({"g": rows.group, "d": due}).group_by("g", maintain_order=True).agg(pl.col("d").min())
        timers = StoreTimers(store, prefix=_TIMERS)
        for i, at_ms in first.iter_rows():
            given, set_for = _read(store.get(_GROUPS + names[i]))
            if at_ms < set_for:
                if set_for != _NEVER:
                    timers.cancel(set_for, names[i])
                timers.set(at_ms, names[i])
                store.put(_GROUPS + names[i], _written(given, at_ms))

    def _forget(self, store: StateStore, names: Sequence[bytes], states: pl.DataFrame, end_ms: int) -> None:
        """Rows that no window needs any more go; what stays rings again."""
        stays = self.rule.forgotten(states["ts"].to_numpy()) > end_ms
        store.delete_many(_row_names(names, states.filter(pl.Series(~stays))))
        rows = _kept(states.filter(pl.Series(stays)))
        due = self._wakes(rows.ts, end_ms)
        rest = pl.DataFrame({"g": rows.group, "d": due}).group_by("g").agg(pl.col("d").min())
        next_ms = dict(rest.iter_rows())
        timers = StoreTimers(store, prefix=_TIMERS)
        for i, name in enumerate(names):
            if i in next_ms:
                timers.set(next_ms[i], name)
                store.put(_GROUPS + name, _written(end_ms, next_ms[i]))
            else:
                store.delete(_GROUPS + name)

    def _wakes(self, ts: Int64s, now_ms: Int64s | int) -> Int64s:
        return self.rule.next_due(ts, now_ms) if self.emit == "close" else self.rule.forgotten(ts)


def _kept(states: pl.DataFrame) -> Kept:
    return Kept(*(states[c].to_numpy() for c in (_GROUP, "ts", _WM, _NUMBER)))


def _framed(name: bytes) -> bytes:
    return len(name).to_bytes(4, "big") + name


def _row_names(names: Sequence[bytes], rows: pl.DataFrame) -> list[bytes]:
    places = zip(rows[_GROUP].to_list(), rows["ts"].to_list(), rows[_NUMBER].to_list(), strict=True)
    return [_ROWS + names[g] + (t + _SHIFT).to_bytes(8, "big") + n.to_bytes(8, "big") for g, t, n in places]


def _numbers(store: StateStore, count: int) -> Int64s:
    """Numbers of the next `count` rows in order of arrival, counted in the store."""
    first = int.from_bytes(store.get(_ARRIVED) or b"\0", "big")
    store.put(_ARRIVED, (first + count).to_bytes(8, "big"))
    return np.arange(first, first + count, dtype=np.int64)


def _read(value: bytes | None) -> tuple[int, int]:
    """(time up to which windows of a group were given, time its timer is set for)."""
    if value is None:
        return -_SHIFT, _NEVER
    return int.from_bytes(value[:8], "big", signed=True), int.from_bytes(value[8:], "big", signed=True)


def _written(given: int, timer: int) -> bytes:
    return given.to_bytes(8, "big", signed=True) + timer.to_bytes(8, "big", signed=True)
