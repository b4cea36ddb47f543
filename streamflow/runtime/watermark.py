"""Event time of a task: the watermark at each row, over all inputs, whatever the batches.

It is set when rows enter a stage, before any filter, so what an operator drops still moves time.

An input's own watermark comes from its rows (greatest event time so far, less the disorder that is allowed) or, on a
repartition topic, from the markers of the upstream tasks (the least of what each one last said). The task's watermark
is the least over its live inputs and never goes back. An input that has been silent for `idle_after_ms` is not live
until its next row. Nothing here reads a clock: `now_ms` is handed in, and idle decisions are handed out to be
journaled, so that a replay can hand them in again.

END_OF_TIME is said when a bounded source is done: whatever waits for time may come out. If its next run has more rows
after all, time begins anew with them; it would be of no use to call them all late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.runtime.event_time import (
    END_OF_TIME,
    IDLE,
    NO_WATERMARK,
    IdleDecision,
    InputTime,
    StepRows,
    StepTime,
    TaskTime,
    TimeRule,
)

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


def advance(
    rules: Sequence[TimeRule],
    before: TaskTime,
    rows: Sequence[StepRows],
    *,
    now_ms: int,
    decisions: Sequence[IdleDecision] | None = None,
) -> StepTime:
    """Time over one step; `rules`, `before.inputs` and `rows` are per input, in the same order.

    `decisions`: None decides which inputs are idle at `now_ms`; a replay gives those of the journal instead.
    """
    if decisions is None:
        decisions = _decide(rules, before, rows, now_ms)
    gone_idle = {decision.input for decision in decisions}
    earlier = [replace(known, idle=known.idle or i in gone_idle) for i, known in enumerate(before.inputs)]
    traces = [_trace(*each, now_ms) for each in zip(rules, earlier, rows, strict=True)]
    least = _combined(traces, sum(len(step.ts) for step in rows), before.watermark_ms)
    after = tuple(trace.after for trace in traces)
    return StepTime(
        watermarks=tuple(pl.Series("@wm", least[trace.order], dtype=pl.Int64()) for trace in traces),
        decisions=tuple(decisions),
        after=replace(before, watermark_ms=int(least[-1]), inputs=after),
    )


def source_watermarks(ts: pl.Series, *, disorder_ms: int, carried_ms: int = NO_WATERMARK) -> Int64s:
    """Watermark at each row of a source: greatest event time up to and with the row, less the disorder; never back.

    A row without event time changes nothing. `carried_ms`: the watermark before the first row.
    """
    # Clipped so that the subtraction cannot wrap, and so that no row's time can pass for IDLE or END_OF_TIME.
    times = np.clip(ts.fill_null(NO_WATERMARK).to_numpy(), NO_WATERMARK + disorder_ms, IDLE - 1)
    return np.maximum(np.maximum.accumulate(times - disorder_ms), carried_ms)


class SourceWatermark:
    """`source_watermarks` carried from batch to batch, for a task with one input that never idles."""

    __slots__ = ("_disorder_ms", "watermark_ms")

    def __init__(self, *, disorder_ms: int = 0, watermark_ms: int = NO_WATERMARK) -> None:
        self._disorder_ms, self.watermark_ms = disorder_ms, watermark_ms

    def advance(self, ts: pl.Series) -> pl.Series:
        """`@wm` of rows with event times `ts`, which follow all rows seen before."""
        marks = source_watermarks(ts, disorder_ms=self._disorder_ms, carried_ms=self.watermark_ms)
        if len(marks):
            self.watermark_ms = int(marks[-1])
        return pl.Series("@wm", marks, dtype=pl.Int64())


@dataclass(frozen=True, slots=True)
class _Trace:
    """An input's own watermark over a step: `initial`, then `value[i]` from merged rank `at[i]` on."""

    order: Int64s  # ranks of the input's rows
    at: Int64s
    value: Int64s
    by_row: Bools  # whether a row made the change, or a marker
    initial: int
    after: InputTime


def _decide(
    rules: Sequence[TimeRule], before: TaskTime, rows: Sequence[StepRows], now_ms: int
) -> tuple[IdleDecision, ...]:
    return tuple(
        IdleDecision(i)
        for i, (rule, known, step) in enumerate(zip(rules, before.inputs, rows, strict=True))
        if rule.idle_after_ms is not None
        and not rule.upstream
        and not known.idle
        and step.caught_up
        and not len(step.ts)
        and known.seen_ms is not None
        and now_ms - known.seen_ms >= rule.idle_after_ms
    )


def _trace(rule: TimeRule, before: InputTime, step: StepRows, now_ms: int) -> _Trace:
    count = len(step.ts)
    order = np.arange(count) if step.order is None else step.order.to_numpy().astype(np.int64)
    own, tasks, busy = before.watermark_ms, before.tasks, before.busy
    if rule.aside:
        nothing = np.empty(0, np.int64)
        return _Trace(order, nothing, nothing, nothing.astype(np.bool_), END_OF_TIME, before)
    if rule.upstream:
        at, value, tasks, busy = _marked(before, step, order)
        by_row = np.zeros(len(at), np.bool_)
    else:
        at, value, by_row = _sourced(rule, before, step, order)
    if len(value):
        own = int(value[-1])
    after = InputTime(
        watermark_ms=own,
        seen_ms=now_ms if count or before.seen_ms is None else before.seen_ms,
        idle=before.idle and not len(value),
        tasks=tasks,
        busy=busy,
        taken_ms=max(before.taken_ms, _latest(step.ts)),
    )
    return _Trace(order, at, value, by_row, before.counts_as_ms, after)


def _sourced(rule: TimeRule, before: InputTime, step: StepRows, order: Int64s) -> tuple[Int64s, Int64s, Bools]:
    """Changes of a source: by its rows, and by the markers that tell its end."""
    ends = [m for m in step.markers if m.watermark_ms == END_OF_TIME]
    at, value, by_row = [], [], []
    first, carried_ms = 0, before.watermark_ms
    for end, behind in [*((_rows_before(step, m.position), True) for m in ends), (len(step.ts), False)]:
        carried_ms = NO_WATERMARK if carried_ms == END_OF_TIME else carried_ms
        marks = source_watermarks(step.ts[first:end], disorder_ms=rule.disorder_ms, carried_ms=carried_ms)
        at.append(order[first:end])
        value.append(marks)
        by_row.append(np.ones(len(marks), np.bool_))
        carried_ms = int(marks[-1]) if len(marks) else carried_ms
        if behind:
            at.append(np.array([_behind(order, end)]))
            value.append(np.array([END_OF_TIME]))
            by_row.append(np.zeros(1, np.bool_))
            carried_ms = END_OF_TIME
        first = end
    return np.concatenate(at), np.concatenate(value), np.concatenate(by_row)


def _latest(ts: pl.Series) -> int:
    latest = ts.max()
    return latest if isinstance(latest, int) else NO_WATERMARK


def _marked(before: InputTime, step: StepRows, order: Int64s) -> tuple[Int64s, Int64s, dict[int, int], frozenset[int]]:
    """Ranks from which markers change the input's watermark, the watermarks, what each task said last, who is busy.

    A task that has never said anything holds the watermark back; one that is not among the rule's joins on its first
    marker, as it does when an upstream stage gets more partitions.
    """
    tasks, busy, at, value = dict(before.tasks), set(before.busy), [], []
    for marker in step.markers:  # one per upstream task and commit: few
        tasks[marker.task] = marker.watermark_ms
        (busy.add if marker.more else busy.discard)(marker.task)
        at.append(_behind(order, _rows_before(step, marker.position)))
        value.append(min(tasks.values()))
    return np.array(at, np.int64), np.array(value, np.int64), tasks, frozenset(busy)


def _rows_before(step: StepRows, position: int) -> int:
    return 0 if step.positions is None else int(np.searchsorted(step.positions.to_numpy(), position))


def _behind(order: Int64s, rows: int) -> int:
    """The merged rank right behind the first `rows` rows of an input."""
    return int(order[rows - 1]) + 1 if rows else 0


def _combined(traces: Sequence[_Trace], count: int, carried_ms: int) -> Int64s:
    """The task's watermark at each merged row, and after all changes: the least over its inputs, never back.

    Computed at every change, not only at rows: between two rows markers may have lifted it and been taken back since.
    """
    at = np.concatenate([trace.at for trace in traces])
    whose = np.repeat(np.arange(len(traces)), [len(trace.at) for trace in traces])
    # A marker stands before the row whose rank it has.
    in_time = np.lexsort((np.concatenate([trace.by_row for trace in traces]), at))
    at, whose = at[in_time], whose[in_time]
    least = np.full(len(at) + 1, END_OF_TIME, np.int64)
    for i, trace in enumerate(traces):
        known = np.concatenate([[trace.initial], trace.value])
        np.minimum(least, known[np.cumsum(np.concatenate([[0], whose == i]))], out=least)
    # Where no input is live, time stands still.
    least = _never_back(np.where(least == IDLE, NO_WATERMARK, least), carried_ms)
    at_rows = np.searchsorted(at, np.arange(count), side="right")
    at_rows_and_end: Int64s = np.append(at_rows, len(at))
    return np.take(least, at_rows_and_end)


def _never_back(values: Int64s, carried_ms: int) -> Int64s:
    """The greatest so far, beginning anew behind each END_OF_TIME."""
    ends = np.flatnonzero(values == END_OF_TIME) + 1
    pieces = []
    for piece in np.split(values, ends):
        if carried_ms == END_OF_TIME:
            # Until something is known again, it is still the end.
            highest = np.maximum.accumulate(piece)
            highest = np.where(highest == NO_WATERMARK, END_OF_TIME, highest)
        else:
            highest = np.maximum(np.maximum.accumulate(piece), carried_ms)
        pieces.append(highest)
        carried_ms = int(highest[-1]) if len(highest) else carried_ms
    return np.concatenate(pieces)
