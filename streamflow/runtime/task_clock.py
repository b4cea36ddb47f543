"""The event time of one running task: what rows and markers of its inputs make of it, step by step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import orjson
import polars as pl

from streamflow.codecs import Marker as Record
from streamflow.model.batch import POSITION, TS
from streamflow.model.positions import TopicPartition
from streamflow.runtime.event_time import (
    END_OF_TIME,
    IDLE,
    NO_WATERMARK,
    IdleDecision,
    InputTime,
    Marker,
    StepRows,
    TaskTime,
    TimeRule,
    start_input,
)
from streamflow.runtime.seed import WATERMARK
from streamflow.runtime.topics import stage_width
from streamflow.runtime.watermark import advance
from streamflow.sdk.log import TopicInfo
from streamflow.topology.plan import InputPlan, StagePlan, Topology

TICK_MS: Final = 1_000  # how often the clock moves time on inputs without records
_NO_ROWS = pl.Series(TS, [], dtype=pl.Int64)


class TaskClock:
    """Carries event time from step to step. `rules`: the task's inputs, in a fixed order."""

    def __init__(self, rules: Mapping[TopicPartition, TimeRule]) -> None:
        self._inputs, self._rules = tuple(rules), tuple(rules.values())
        self.can_idle = any(rule.idle_after_ms is not None for rule in self._rules)
        self.by_clock = any(rule.by_clock for rule in self._rules)
        self.restore({}, NO_WATERMARK)

    def restore(self, known: Mapping[TopicPartition, InputTime], watermark_ms: int) -> None:
        """Go back to what was committed; inputs that are not in `known` begin anew, time as a whole never does."""
        inputs = tuple(known.get(at) or start_input(rule) for at, rule in zip(self._inputs, self._rules, strict=True))
        self.time = TaskTime(watermark_ms=watermark_ms, inputs=inputs)
        self.committed()

    def committed(self) -> None:
        """What `news` gave was told."""
        self._told_ms, self._anew_ms = self.time.said_ms, NO_WATERMARK

    def news(self) -> tuple[int | None, int | None]:
        """What this task's markers are to say before and behind the rows of a commit; None where that is no news.

        Before them there is something to say only when time begins anew after the end of time: or all rows were late.
        """
        before = None if self._anew_ms == NO_WATERMARK else self._anew_ms
        known = self._told_ms if before is None else before
        return before, self.time.said_ms if self.time.said_ms not in (known, NO_WATERMARK) else None

    def step(
        self,
        at: TopicPartition | None,
        frame: pl.DataFrame | None,
        markers: Sequence[Record],
        *,
        now_ms: int,
        caught_up: Collection[TopicPartition],
        idle: Sequence[TopicPartition] | None,
    ) -> tuple[pl.Series, tuple[TopicPartition, ...]]:
        """`@wm` of the rows in `frame`, which are the next of input `at`, and the inputs held to be idle from now on.

        `at` is None for a step without records. `caught_up`: inputs known to hold no more at present. `idle`: the
        inputs that a journal says were held to be idle; None decides it by `now_ms`.
        """
        rows = [
            StepRows(ts=_NO_ROWS, caught_up=place in caught_up)
            if place != at or frame is None
            else StepRows(
                ts=frame[TS], positions=frame[POSITION], markers=_watermarks(markers), caught_up=False
            )
            for place in self._inputs
        ]  # fmt: skip
        decisions = None if idle is None else [IdleDecision(self._inputs.index(place)) for place in idle]
        done = advance(self._rules, self.time, rows, now_ms=now_ms, decisions=decisions)
        self.time = done.after
        marks = _NO_ROWS if at is None else done.watermarks[self._inputs.index(at)]
        if self._told_ms == END_OF_TIME and self._anew_ms == NO_WATERMARK:
            known = [ms for ms in (marks.min(), self.time.watermark_ms) if isinstance(ms, int) and ms != END_OF_TIME]
            self._anew_ms = known[0] if known else NO_WATERMARK
        return marks, tuple(self._inputs[decision.input] for decision in done.decisions)

    def read_at(self, at: TopicPartition, now_ms: int) -> int:
        """Event time of rows of an input that goes by the clock: never back, whatever the clock does."""
        known = self.time.inputs[self._inputs.index(at)].watermark_ms
        return max(now_ms, known) if known < IDLE else now_ms

    def must_tick(self, now_ms: int, caught_up: Collection[TopicPartition]) -> bool:
        """Whether the clock alone moves time: nothing is left to read, and the last row was a while ago."""
        timed = [i for i, rule in enumerate(self._rules) if rule.by_clock]
        waits = all(self._inputs[i] in caught_up for i in timed)
        return bool(timed) and waits and any(now_ms - self.time.inputs[i].watermark_ms >= TICK_MS for i in timed)

    def tick(self, now_ms: int) -> None:
        """Inputs that go by the clock have come to `now_ms`, as if each had a row."""
        rows, ranks = [], iter(range(len(self._rules)))
        for rule in self._rules:
            order = pl.Series([next(ranks)]) if rule.by_clock else None
            ts = pl.Series(TS, [now_ms], dtype=pl.Int64) if rule.by_clock else _NO_ROWS
            rows.append(StepRows(ts=ts, order=order, caught_up=False))
        self.time = advance(self._rules, self.time, rows, now_ms=now_ms, decisions=()).after

    def known(self) -> Mapping[TopicPartition, InputTime]:
        return dict(zip(self._inputs, self.time.inputs, strict=True))


def make_clock(
    stage: StagePlan, inputs: Mapping[TopicPartition, InputPlan], topology: Topology, topics: Mapping[str, TopicInfo]
) -> TaskClock | None:
    """The clock of a task that reads `inputs`; None where its stage needs no event time."""
    if not stage.timed:
        return None
    partitions = {name: info.partitions for name, info in topics.items()}
    # Who writes a repartition topic: as many tasks as the stage before has, each of which tells its time. A trigger's
    # own topic has one writer and the order of the trigger: its rows tell their time, as on a user's topic.
    upstream = {
        sink.topic: tuple(range(stage_width(writer, partitions)))
        for writer in topology.stages
        for sink in writer.sinks
        if sink.kind == "repartition"
    }
    return TaskClock(
        {
            at: TimeRule(
                disorder_ms=plan.disorder_ms,
                idle_after_ms=plan.idle_after_ms,
                by_clock=plan.by_clock,
                upstream=upstream.get(plan.topic, ()) if plan.internal else (),
            )
            for at, plan in inputs.items()
        }
    )


def _watermarks(markers: Sequence[Record]) -> list[Marker]:
    found = []
    for marker in markers:
        if marker.type == WATERMARK:
            told = orjson.loads(marker.value)
            found.append(Marker(marker.offset, told["task"], told["watermark_ms"]))
    return found
