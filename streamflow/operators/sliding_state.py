"""What sliding windows keep: each row by itself, until the last window that it may be in has closed.

Entries: `group ‖ event time ‖ number of arrival` with the row; and for each group the time up to which its windows
were given, and for which its timer is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.operators.sliding_windows import Kept, Slide
from streamflow.operators.timers import StoreTimers
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
GROUP, WM_THEN, NUMBER = "@:g", "wm", "number"  # columns of rows beside those of states
_ROWS, _GROUPS, _TIMERS = b"r", b"g", b"t"
_SHIFT: Final = 1 << 63
_NEVER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SlidingState:
    """Rows in a store, by group. `closes`: timers ring when windows close, else when rows are not needed any more."""

    codec: RowCodec
    rule: Slide
    closes: bool

    def ringing(self, store: StateStore, end_ms: int) -> list[bytes]:
        """Groups for which it is time, in order."""
        return sorted({name for _, name in StoreTimers(store, prefix=_TIMERS).due(end_ms)})

    def given(self, store: StateStore, names: Sequence[bytes]) -> Int64s:
        """The time up to which the windows of groups were given."""
        return np.array([_read(value)[0] for value in store.get_many([_GROUPS + name for name in names])], np.int64)

    def read(self, entries: Sequence[tuple[bytes, bytes]]) -> tuple[pl.DataFrame, Int64s]:
        """(all rows, by group; the time up to which windows of each group were given)."""
        names = [name[1:-16] for name, _ in entries if name.startswith(_ROWS)]
        group = {name: i for i, name in enumerate(dict.fromkeys(names))}
        states = self.codec.decode([value for name, value in entries if name.startswith(_ROWS)])
        told = dict(entries)
        given = np.array([_read(told.get(_GROUPS + name))[0] for name in group], np.int64)
        return states.with_columns(pl.Series(GROUP, [group[name] for name in names], dtype=pl.Int64)), given

    def load(self, store: StateStore, names: Sequence[bytes], asked: Int64s) -> pl.DataFrame:
        """Rows of the groups `asked` for, by group and time."""
        values: list[bytes] = []
        group: list[int] = []
        for i in asked.tolist():
            stem = _ROWS + names[i]
            found = [value for _, value in store.scan(stem, stem + b"\xff" * 17)]
            values += found
            group += [i] * len(found)
        return self.codec.decode(values).with_columns(pl.Series(GROUP, group, dtype=pl.Int64))

    def keep(self, store: StateStore, names: Sequence[bytes], new: pl.DataFrame) -> None:
        """Write new rows, and set timers of groups where none rings early enough."""
        if not new.height:
            return
        store.put_many(_row_names(names, new), self.codec.encode(new.drop(GROUP)))
        rows = kept(new)
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

    def forget(self, store: StateStore, names: Sequence[bytes], states: pl.DataFrame, end_ms: int) -> None:
        """Rows that no window needs any more go; what stays rings again."""
        stays = self.rule.forgotten(states["ts"].to_numpy()) > end_ms
        store.delete_many(_row_names(names, states.filter(pl.Series(~stays))))
        rows = kept(states.filter(pl.Series(stays)))
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
        return self.rule.next_due(ts, now_ms) if self.closes else self.rule.forgotten(ts)


def kept(states: pl.DataFrame) -> Kept:
    """What decides of which windows rows are part."""
    return Kept(*(states[c].to_numpy() for c in (GROUP, "ts", WM_THEN, NUMBER)))


def framed(name: bytes) -> bytes:
    """Names of which none begins another one."""
    return len(name).to_bytes(4, "big") + name


def _row_names(names: Sequence[bytes], rows: pl.DataFrame) -> list[bytes]:
    places = zip(rows[GROUP].to_list(), rows["ts"].to_list(), rows[NUMBER].to_list(), strict=True)
    return [_ROWS + names[g] + (t + _SHIFT).to_bytes(8, "big") + n.to_bytes(8, "big") for g, t, n in places]


def _read(value: bytes | None) -> tuple[int, int]:
    """(time up to which windows of a group were given, time its timer is set for)."""
    if value is None:
        return -_SHIFT, _NEVER
    return int.from_bytes(value[:8], "big", signed=True), int.from_bytes(value[8:], "big", signed=True)


def _written(given: int, timer: int) -> bytes:
    return given.to_bytes(8, "big", signed=True) + timer.to_bytes(8, "big", signed=True)
