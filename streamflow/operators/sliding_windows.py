"""Which sliding windows rows make, and which rows each of them holds.

A row at t makes the window `[t - size, t]` (for 0 <= t < size: `[0, size]`) and the one that begins just behind it,
`[t + 1, t + 1 + size]`, which is there as soon as it holds a row. Both ends belong to a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_PAIRS_MAX: Final = 1 << 18  # (window, row) pairs in memory at once, unless one window alone holds more


@dataclass(frozen=True, slots=True)
class Slide:
    """Windows of `size_ms` that rows make, each taking rows for `grace_ms` when time has passed its end."""

    size_ms: int
    grace_ms: int = 0

    def left(self, ts: Int64s) -> Int64s:
        """Start of the window that a row ends."""
        return np.where((ts >= 0) & (ts < self.size_ms), 0, ts - self.size_ms)

    def due(self, start: Int64s) -> Int64s:
        """When a window is closed: time has passed its end, not only reached it."""
        return start + (self.size_ms + self.grace_ms + 1)

    def forgotten(self, ts: Int64s) -> Int64s:
        """When a row takes part in no window any more, nor makes one."""
        return self.due(ts + 1)

    def next_due(self, ts: Int64s, now_ms: Int64s | int) -> Int64s:
        """When the first window closes that a row makes and that is open."""
        first = self.due(self.left(ts))
        return np.where(first > now_ms, first, self.forgotten(ts))


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows: their group, event time, the watermark they came at, and their number in order of arrival."""

    group: Int64s
    ts: Int64s
    wm: Int64s
    number: Int64s


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of groups. `since`: number of the row that made each."""

    group: Int64s
    start: Int64s
    since: Int64s

    def where(self, some: Bools | Int64s) -> Windows:
        return Windows(self.group[some], self.start[some], self.since[some])


def windows_of(rule: Slide, rows: Kept) -> Windows:
    """All windows that rows made, once each; some may hold no row yet."""
    starts = np.concatenate([rule.left(rows.ts), rows.ts + 1])
    group, wm, number = (np.tile(part, 2) for part in (rows.group, rows.wm, rows.number))
    made = pl.DataFrame({"g": group, "s": starts, "n": number}).filter(pl.Series(rule.due(starts) > wm))
    each = made.group_by("g", "s").agg(pl.col("n").min()).sort("g", "s")
    return Windows(each["g"].to_numpy(), each["s"].to_numpy(), each["n"].to_numpy())


def held(rule: Slide, windows: Windows, rows: Kept) -> Iterator[tuple[Int64s, Int64s]]:
    """(window, row) pairs of what each window holds: windows in their order, rows of one in order of arrival. In
    portions, none of which cuts a window.
    """
    times, code = np.unique(rows.ts, return_inverse=True)
    width = len(times) + 1
    order = np.lexsort((rows.ts, rows.group))
    sorted_rows = (rows.group * width + code)[order]
    first = windows.group * width + np.searchsorted(times, windows.start)
    behind = windows.group * width + np.searchsorted(times, windows.start + rule.size_ms, side="right")
    low, high = np.searchsorted(sorted_rows, first), np.searchsorted(sorted_rows, behind)
    count = high - low
    total = np.cumsum(count)
    begin = 0
    while begin < len(count):
        end = max(int(np.searchsorted(total, total[begin] - count[begin] + _PAIRS_MAX, side="right")), begin + 1)
        here = count[begin:end]
        window = np.repeat(np.arange(begin, end), here)
        within = np.arange(len(window)) - np.repeat(np.cumsum(here) - here, here)
        row = order[np.repeat(low[begin:end], here) + within]
        open_then = rule.due(windows.start[window]) > rows.wm[row]
        window, row = window[open_then], row[open_then]
        by_arrival = np.lexsort((rows.number[row], window))
        yield window[by_arrival], row[by_arrival]
        begin = end


def taken(rule: Slide, old: Kept, new: Kept) -> Bools:
    """Which of `new`, in order of arrival, find an open window that holds them. Those that do not are late, and make
    none. `old` need only hold rows of groups that `doubtful` names.
    """
    sure = rule.due(rule.left(new.ts)) > new.wm
    found = sure.copy()
    # The row's own window has closed, but another that holds it may be open: these few go one by one.
    for i in np.flatnonzero(~sure & (rule.due(new.ts) > new.wm)).tolist():
        before = (new.group[:i] == new.group[i]) & found[:i]
        others = np.concatenate([old.ts[old.group == new.group[i]], new.ts[:i][before]])
        starts = np.concatenate([others + 1, rule.left(others)])
        holds = (starts <= new.ts[i]) & (new.ts[i] <= starts + rule.size_ms)
        found[i] = bool((holds & (rule.due(starts) > new.wm[i])).any())
    return found


def doubtful(rule: Slide, rows: Kept) -> Int64s:
    """Groups in which other rows decide whether one is late."""
    return np.unique(rows.group[(rule.due(rule.left(rows.ts)) <= rows.wm) & (rule.due(rows.ts) > rows.wm)])
