"""Event time of a task: the watermark at each row, over all inputs, whatever the batches.

A watermark W at a row says: no later row should have an event time below W. Rows that do are late. It is set when rows
enter a stage, before any filter, so what an operator drops still moves time.

An input's own watermark comes from its rows (greatest event time so far, less the disorder that is allowed) or, on an
internal topic, from the markers of the upstream tasks (the least of what each one last said). The task's watermark is
the least over its live inputs and never goes back. An input that has been silent for `idle_after_ms` is not live until
its next row. Nothing here reads a clock: `now_ms` is handed in, and idle decisions are handed out to be journaled, so
that a replay can hand them in again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

NO_WATERMARK = -(2**63)  # nothing is known yet
IDLE = 2**63 - 2  # said by a task none of whose inputs is live
END_OF_TIME = 2**63 - 1  # said by a task whose bounded source is done


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRule:
    """How the event time of one input is known."""

    disorder_ms: int = 0  # how far behind the greatest event time a row may come and not be late
    idle_after_ms: int | None = None  # of a source; None: never idle
    upstream: tuple[str, ...] = ()  # tasks that write this input and send markers; () is a source


@dataclass(frozen=True, slots=True)
class Marker:
    """What an upstream task said at `position` (offset) of the input: its watermark, IDLE or END_OF_TIME."""

    position: int
    task: str
    watermark_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """Rows of one input in one step.

    `ts`: event times, in the order of the input. `order`: their ranks in the task's merged order (see `chooser`); None
    when the task has one input. `positions`: their offsets, needed where there are `markers`; a marker belongs to the
    step of the row before it and takes effect right behind that row. `caught_up`: the log has no more at present.
    `ended`: a bounded source is done with these rows.
    """

    ts: pl.Series
    order: pl.Series | None = None
    positions: pl.Series | None = None
    markers: Sequence[Marker] = ()
    caught_up: bool = True
    ended: bool = False


@dataclass(frozen=True, slots=True)
class IdleDecision:
    """From this step on, input number `input` is not waited for, until its next row."""

    input: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTime:
    """What is carried from step to step for one input."""

    watermark_ms: int = NO_WATERMARK  # its own: a time, IDLE or END_OF_TIME
    seen_ms: int | None = None  # `now_ms` of the last step with rows of it, or of the first step
    idle: bool = False
    tasks: Mapping[str, int] = field(default_factory=dict)  # last marker of each upstream task

    @property
    def counts_as_ms(self) -> int:
        return IDLE if self.idle else self.watermark_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTime:
    """What is carried for a task: committed with the journal, given back after a restart or an abort."""

    watermark_ms: int = NO_WATERMARK
    inputs: tuple[InputTime, ...]

    @property
    def said_ms(self) -> int:
        """What this task's own markers say: its watermark; or IDLE or END_OF_TIME when that is true of all inputs."""
        least = min(known.counts_as_ms for known in self.inputs)
        return least if least >= IDLE else self.watermark_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """`watermarks`: per input the `@wm` of its rows. `decisions`: for the journal. `after`: carry it on."""

    watermarks: tuple[pl.Series, ...]
    decisions: tuple[IdleDecision, ...]
    after: TaskTime


def start(rules: Sequence[TimeRule]) -> TaskTime:
    """Time before the first row."""
    return TaskTime(inputs=tuple(InputTime(tasks=dict.fromkeys(rule.upstream, NO_WATERMARK)) for rule in rules))


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
    at_end, last = min(known.counts_as_ms for known in after), int(least[-1])  # a source may have ended behind its rows
    return StepTime(
        watermarks=tuple(pl.Series("@wm", least[trace.order], dtype=pl.Int64()) for trace in traces),
        decisions=tuple(decisions),
        after=TaskTime(watermark_ms=last if at_end == IDLE else max(last, at_end), inputs=after),
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
    initial: int
    per_row: bool  # changes are rows, not markers
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
    order = np.arange(len(step.ts)) if step.order is None else step.order.to_numpy().astype(np.int64)
    if rule.upstream:
        at, value, tasks = _marked(before, step, order)
    else:
        at, tasks = order, {}
        value = source_watermarks(step.ts, disorder_ms=rule.disorder_ms, carried_ms=before.watermark_ms)
    own = int(value[-1]) if len(value) else before.watermark_ms
    after = InputTime(
        watermark_ms=END_OF_TIME if step.ended else own,
        seen_ms=now_ms if len(step.ts) or before.seen_ms is None else before.seen_ms,
        idle=before.idle and not len(step.ts) and not step.ended,
        tasks=tasks,
    )
    return _Trace(order, at, value, before.counts_as_ms, not rule.upstream, after)


def _marked(before: InputTime, step: StepRows, order: Int64s) -> tuple[Int64s, Int64s, dict[str, int]]:
    """Ranks from which markers change the input's watermark, the watermarks, and what each task said last.

    A task that has never said anything holds the watermark back; one that is not among the rule's joins on its first
    marker, as it does when an upstream stage gets more partitions.
    """
    tasks, at, value = dict(before.tasks), [], []
    positions = np.empty(0, np.int64) if step.positions is None else step.positions.to_numpy()
    for marker in step.markers:  # one per upstream task and commit: few
        tasks[marker.task] = marker.watermark_ms
        rows_before = int(np.searchsorted(positions, marker.position))
        at.append(int(order[rows_before - 1]) + 1 if rows_before else 0)
        value.append(min(tasks.values()))
    return np.array(at, np.int64), np.array(value, np.int64), tasks


def _combined(traces: Sequence[_Trace], count: int, carried_ms: int) -> Int64s:
    """The task's watermark at each merged row, and after all changes: the least over its inputs, never back.

    Computed at every change, not only at rows: between two rows markers may have lifted it and been taken back since.
    """
    at = np.concatenate([trace.at for trace in traces])
    whose = np.repeat(np.arange(len(traces)), [len(trace.at) for trace in traces])
    # A marker stands before the row whose rank it has.
    in_time = np.lexsort((np.concatenate([np.full(len(t.at), t.per_row) for t in traces]), at))
    at, whose = at[in_time], whose[in_time]
    least = np.full(len(at) + 1, END_OF_TIME, np.int64)
    for i, trace in enumerate(traces):
        known = np.concatenate([[trace.initial], trace.value])
        np.minimum(least, known[np.cumsum(np.concatenate([[0], whose == i]))], out=least)
    # Where no input is live, time stands still.
    least = np.maximum(np.maximum.accumulate(np.where(least == IDLE, NO_WATERMARK, least)), carried_ms)
    at_rows = np.searchsorted(at, np.arange(count), side="right")
    at_rows_and_end: Int64s = np.append(at_rows, len(at))
    return np.take(least, at_rows_and_end)
