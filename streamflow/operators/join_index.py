"""Rows of one side of a join, found by key and time.

A run is sorted once by (hash of the key, time), as one number a row, so that a row of the other side finds all of its
partners, and hardly anything else, by two binary searches: the work of a step follows its rows and their partners, not
how many rows wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.operators.join_times import NEVER, JoinTimes, Side

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
JOIN_KEY: Final = "@:k"
JOIN_TIME: Final = "@:t"
JOIN_NUMBER: Final = "@:n"
_BITS: Final = 62
_GONE: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Needles:
    """Rows that look for partners: their keys, and the least and greatest time that a partner may have."""

    key: pl.Series
    hashes: UInt64s
    least: Int64s
    greatest: Int64s


@dataclass(slots=True)
class Run:
    """Rows of one side, in the order in which they came.

    `frame`: payload, and the columns JOIN_KEY, JOIN_TIME (event time, ms) and JOIN_NUMBER (how many rows came to the
    join before). `done`: rows that have no more to come for: matched, where only the unmatched wait, or given already.
    `starts`, `goes`, `names`: of the blocks of the store that it holds, one behind another, the first row, the
    watermark at which it goes, and the name. `gone`: rows of blocks that went; they are met by nobody.
    """

    side: Side
    frame: pl.DataFrame
    ts: Int64s
    number: Int64s
    closes: Int64s
    forgotten: Int64s
    done: Bools
    starts: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    goes: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    names: list[bytes] = field(default_factory=list)
    gone: int = 0
    _hashes: UInt64s | None = None
    _sorted: _Sorted | None = None

    @classmethod
    def of(cls, side: Side, frame: pl.DataFrame, times: JoinTimes) -> Run:
        """Rows that are in no block yet."""
        ts, number = frame[JOIN_TIME].to_numpy(), frame[JOIN_NUMBER].to_numpy()
        closes, forgotten = times.closes(side, ts), times.forgotten(side, ts)
        return cls(side, frame, ts, number, closes, forgotten, np.zeros(len(ts), np.bool_))

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def key(self) -> pl.Series:
        return self.frame[JOIN_KEY]

    def needles(self, times: JoinTimes) -> Needles:
        """These rows as those who look for partners."""
        return Needles(self.key, self.hashes(), *times.partners(self.side, self.ts))

    def hashes(self) -> UInt64s:
        if self._hashes is None:
            self._hashes = self.key.hash(seed=0).to_numpy()
        return self._hashes

    def sorted(self) -> _Sorted:
        if self._sorted is None:
            self._sorted = _Sorted.of(self.hashes(), self.ts)
        return self._sorted

    def where(self, mask: Bools) -> Run:
        """Some of the rows, in no block."""
        if mask.all():
            return self
        return self.only(np.flatnonzero(mask))

    def only(self, rows: Int64s) -> Run:
        """These rows, in no block."""
        return Run(
            self.side,
            self.frame[pl.Series(rows, dtype=pl.UInt32)],
            self.ts[rows],
            self.number[rows],
            self.closes[rows],
            self.forgotten[rows],
            self.done[rows],
            _hashes=None if self._hashes is None else self._hashes[rows],
        )

    def in_blocks(self, starts: Int64s, goes: Int64s, names: list[bytes]) -> None:
        """The rows are in these blocks of the store."""
        self.starts, self.goes, self.names = starts, goes, names

    def let_go(self, number: int) -> None:
        """A block is in the store no more."""
        rows = self.block(number)
        self.done[rows], self.forgotten[rows] = True, _GONE
        self.goes[number], self.names[number] = NEVER, b""
        self.gone += rows.stop - rows.start

    def compacted(self) -> Run:
        """The run without the blocks that went."""
        there = [number for number, name in enumerate(self.names) if name]
        parts = [self.block(number) for number in there]
        kept = self.only(np.concatenate([np.arange(0), *(np.arange(p.start, p.stop) for p in parts)]))
        sizes = np.array([p.stop - p.start for p in parts], np.int64)
        kept.in_blocks(np.cumsum(sizes) - sizes, self.goes[there], [self.names[number] for number in there])
        return kept

    def partners(self, needles: Needles) -> tuple[Int64s, Int64s]:
        """(needle, row) for each pair with equal keys and a row in the needle's time."""
        if not len(self) or not len(needles.hashes):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        index = self.sorted()
        first, end = index.between(needles)
        counts = end - first
        needle = np.repeat(np.arange(len(counts)), counts)
        row = index.order[np.arange(len(needle)) + np.repeat(first - (np.cumsum(counts) - counts), counts)]
        ts = self.ts[row]
        fits = (ts >= needles.least[needle]) & (ts <= needles.greatest[needle])
        fits &= _equal(self.key, row, needles.key, needle)
        return (needle, row) if fits.all() else (needle[fits], row[fits])

    def latest(self, needles: Needles) -> Int64s:
        """For each needle the latest row in its time (of equal times the one that came last), or -1."""
        if not len(self):
            return np.full(len(needles.hashes), -1, np.int64)
        index = self.sorted()
        first, end = index.between(needles)
        at = end - 1
        while True:
            here = np.flatnonzero(at >= first)
            row = index.order[at[here]]
            wrong = (self.ts[row] > needles.greatest[here]) | (self.forgotten[row] == _GONE)
            wrong |= ~_equal(self.key, row, needles.key, here)
            if not wrong.any():  # else keys of one hash, or times of one bucket: both are rare
                break
            at[here[wrong]] -= 1
        found = np.full(len(at), -1, np.int64)
        in_time = self.ts[row] >= needles.least[here]
        found[here[in_time]] = row[in_time]
        return found

    def blocks_of(self, rows: Int64s) -> list[int]:
        """Which blocks hold these rows."""
        found: list[int] = np.unique(np.searchsorted(self.starts, rows, side="right") - 1).tolist()
        return found

    def block(self, number: int) -> slice:
        end = int(self.starts[number + 1]) if number + 1 < len(self.starts) else len(self)
        return slice(int(self.starts[number]), end)


def joined(runs: list[Run]) -> Run:
    """Several runs of one side as one, their blocks behind each other."""
    runs = [run.compacted() if run.gone else run for run in runs]
    offsets = np.cumsum([0, *(len(r) for r in runs)])
    return Run(
        runs[0].side,
        pl.concat([r.frame for r in runs], rechunk=True),
        np.concatenate([r.ts for r in runs]),
        np.concatenate([r.number for r in runs]),
        np.concatenate([r.closes for r in runs]),
        np.concatenate([r.forgotten for r in runs]),
        np.concatenate([r.done for r in runs]),
        np.concatenate([r.starts + at for r, at in zip(runs, offsets, strict=False)]),
        np.concatenate([r.goes for r in runs]),
        [name for r in runs for name in r.names],
        _hashes=np.concatenate([r.hashes() for r in runs]),
    )


def _equal(one: pl.Series, rows: Int64s, other: pl.Series, others: Int64s) -> Bools:
    found: Bools = (one.gather(rows) == other.gather(others)).to_numpy()
    return found


@dataclass(frozen=True, slots=True)
class _Sorted:
    """`order`: rows by hash, then time, then arrival. `place`: each one's number of hash and time, ascending."""

    known: UInt64s  # each hash once, ascending
    order: Int64s
    place: Int64s
    first_ms: int
    last_ms: int
    shift: int  # of times, so that places fit 64 bits
    width: int  # places of one hash

    @classmethod
    def of(cls, hashes: UInt64s, ts: Int64s) -> _Sorted:
        first, last = (int(ts.min()), int(ts.max())) if len(ts) else (0, 0)
        known, group = np.unique(hashes, return_inverse=True)
        shift = max(0, (max(last - first, 1) * (len(known) + 1)).bit_length() - _BITS)
        width = ((last - first) >> shift) + 1
        places = group.astype(np.int64) * width + ((ts - first) >> shift)
        by_place = np.argsort(places, kind="stable")
        if shift:  # inside a bucket by time
            by_place = np.lexsort((ts, places))
        return cls(known, by_place, places[by_place], first, last, shift, width)

    def between(self, needles: Needles) -> tuple[Int64s, Int64s]:
        """The range in `order` of rows with each needle's hash and, but for the shift, in its time."""
        group = np.searchsorted(self.known, needles.hashes)
        there = group < len(self.known)
        there[there] = self.known[group[there]] == needles.hashes[there]
        there &= (needles.least <= self.last_ms) & (needles.greatest >= self.first_ms)
        least, greatest = (
            group * self.width + ((np.clip(ms, self.first_ms, self.last_ms) - self.first_ms) >> self.shift)
            for ms in (needles.least, needles.greatest)
        )
        first = np.searchsorted(self.place, least)
        end = np.searchsorted(self.place, greatest, side="right")
        return first, np.where(there, np.maximum(end, first), first)
