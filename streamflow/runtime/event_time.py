"""What is known of event time: the values that tasks carry, commit and tell each other. `watermark` moves them on.

A watermark W at a row says: no later row should have an event time below W. Rows that do are late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

NO_WATERMARK: Final = -(2**63)  # nothing is known yet
IDLE: Final = 2**63 - 2  # said by a task none of whose inputs is live
END_OF_TIME: Final = 2**63 - 1  # said by a task whose bounded source is done


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRule:
    """How the event time of one input is known.

    `upstream`: partitions of the stage that writes this input, each a task that sends markers; () is a source, whose
    own rows tell its time.
    """

    disorder_ms: int = 0  # how far behind the greatest event time a row may come and not be late
    idle_after_ms: int | None = None  # of a source; None: never idle
    by_clock: bool = False  # its rows have the time at which they are read, and time goes on without them
    upstream: tuple[int, ...] = ()
    ends: bool = False  # of a source: it says END_OF_TIME whenever it has no more
    aside: bool = False  # it has no part in event time: signals of executions, rows that come back to a loop


@dataclass(frozen=True, slots=True)
class Marker:
    """What upstream task `task` said at `position` (offset) of the input: its watermark, IDLE or END_OF_TIME.

    `more`: it had more to read when it said so.
    """

    position: int
    task: int
    watermark_ms: int
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """Rows of one input in one step.

    `ts`: event times, in the order of the input. `order`: their ranks in the task's merged order (see `chooser`); None
    when rows of this input alone are in the step. `positions`: their offsets, needed where there are `markers`; a
    marker belongs to the step of the row before it and takes effect right behind that row. `caught_up`: the log has no
    more at present.
    """

    ts: pl.Series
    order: pl.Series | None = None
    positions: pl.Series | None = None
    markers: Sequence[Marker] = ()
    caught_up: bool = True


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
    tasks: Mapping[int, int] = field(default_factory=dict)  # last marker of each upstream task
    busy: frozenset[int] = frozenset()  # upstream tasks that had more to read, or have not said anything
    taken_ms: int = NO_WATERMARK  # greatest event time of its rows so far

    @property
    def counts_as_ms(self) -> int:
        return IDLE if self.idle else self.watermark_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTime:
    """What is carried for a task: committed with the journal, given back after a restart or an abort."""

    watermark_ms: int = NO_WATERMARK
    inputs: tuple[InputTime, ...]
    told_more: bool | None = None  # what stages behind heard last of whether there is more to read; None: nothing yet

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
    return TaskTime(inputs=tuple(start_input(rule) for rule in rules))


def start_input(rule: TimeRule) -> InputTime:
    if rule.aside:
        return InputTime(watermark_ms=END_OF_TIME)  # never the least
    return InputTime(tasks=dict.fromkeys(rule.upstream, NO_WATERMARK), busy=frozenset(rule.upstream))
