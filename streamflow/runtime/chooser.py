"""Which row next: the order in which a task with several inputs takes their rows.

Rows are merged by (event time, input number, offset); within an input they keep their order, so a row behind a later
one counts with that later one's time. The merge may not run ahead: while the log has more for an input than is
buffered, its next row could come before rows of the others that are already here. So rows are taken up to the least
last buffered time of such inputs. Once all inputs were read to their end, everything goes.

As long as no input was caught up, the order depends on the records alone, not on how they were cut into batches. Where
one was, arrival decides, and the journal tells: a replay merges exactly the ranges of each journaled step with
`merged`, and gets the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

NOTHING_TAKEN = -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffered:
    """Rows of one input that wait to be taken.

    `ts`: event times in the order of the input. `more`: the log may hold more for this input now (neither caught up
    nor idle). `taken_ms`: greatest event time taken from this input so far; carry `Choice.taken_ms` on.
    """

    ts: pl.Series
    more: bool
    taken_ms: int = NOTHING_TAKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to take now, per input: the first `counts[i]` rows, whose ranks in the merged order are `orders[i]`.

    `taken_ms` belongs into the next `Buffered`. `inputs[r]` is the input of the row with rank r.
    """

    counts: tuple[int, ...]
    orders: tuple[pl.Series, ...]  # UInt32, ready to be `@row`
    taken_ms: tuple[int, ...]
    inputs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def segments(self) -> pl.DataFrame:
        """Runs of rows of one input, in order: columns `input`, `first` (row of that input's buffer) and `count`."""
        starts = np.flatnonzero(np.diff(self.inputs, prepend=-1))
        counts = np.diff(starts, append=len(self.inputs))
        inputs = self.inputs[starts]
        first = np.zeros(len(starts), np.int64)
        for i in range(len(self.counts)):
            own = inputs == i
            first[own] = np.cumsum(counts[own]) - counts[own]
        return pl.DataFrame({"input": inputs, "first": first, "count": counts})


def choose(inputs: Sequence[Buffered], *, rows_max: int | None = None) -> Choice:
    """The rows that may be taken now, at most `rows_max`, in merged order; none if an input has to be read first."""
    times = [_in_order(buffered.ts, buffered.taken_ms) for buffered in inputs]
    ready = [_ready(times, i, inputs) for i in range(len(inputs))]
    choice = _merge([own[:count] for own, count in zip(times, ready, strict=True)], inputs)
    if rows_max is None or len(choice) <= rows_max:
        return choice
    counts = np.bincount(choice.inputs[:rows_max], minlength=len(inputs))
    return _merge([own[:count] for own, count in zip(times, counts.tolist(), strict=True)], inputs)


def merged(inputs: Sequence[Buffered]) -> Choice:
    """All rows of `inputs` in merged order: a journaled step done again."""
    return _merge([_in_order(buffered.ts, buffered.taken_ms) for buffered in inputs], inputs)


def _in_order(ts: pl.Series, taken_ms: int) -> Int64s:
    """Times by which rows are merged: never less than those of rows before, as an input is taken in its order."""
    return np.maximum(np.maximum.accumulate(ts.fill_null(NOTHING_TAKEN).to_numpy()), taken_ms)


def _ready(times: Sequence[Int64s], i: int, inputs: Sequence[Buffered]) -> int:
    """How many rows of input `i` precede every row that other inputs may still get.

    The next row of input j counts with at least its last buffered time, and ties go to the smaller input number.
    """
    ready = len(times[i])
    for j, other in enumerate(inputs):
        if j == i or not other.more:
            continue
        last = int(times[j][-1]) if len(times[j]) else other.taken_ms
        ready = min(ready, int(np.searchsorted(times[i], last, side="right" if i < j else "left")))
    return ready


def _merge(times: Sequence[Int64s], inputs: Sequence[Buffered]) -> Choice:
    counts = [len(own) for own in times]
    number = np.repeat(np.arange(len(times)), counts)
    # Stable, and rows come input by input: ties are in the order of input, then offset.
    permutation = np.argsort(np.concatenate(times) if times else np.empty(0, np.int64), kind="stable")
    ranks = np.empty(len(permutation), np.uint32)
    ranks[permutation] = np.arange(len(permutation), dtype=np.uint32)
    return Choice(
        counts=tuple(counts),
        orders=tuple(pl.Series("@row", part) for part in np.split(ranks, np.cumsum(counts)[:-1])),
        taken_ms=tuple(
            int(own[-1]) if len(own) else buffered.taken_ms for own, buffered in zip(times, inputs, strict=True)
        ),
        inputs=number[permutation],
    )
