"""The event time of one running task: what rows and markers of its inputs make of it, step by step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson
import polars as pl

from streamflow.codecs import Marker as Record
from streamflow.model.batch import POSITION, TS
from streamflow.model.positions import TopicPartition
from streamflow.runtime.arrived import Arrived
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
_NO_ROWS, _NO_ORDER = pl.Series(TS, [], dtype=pl.Int64), pl.Series("@row", [], dtype=pl.UInt32)


class TaskClock:
    """Carries event time from step to step. `rules`: the task's inputs, in a fixed order."""

    def __init__(self, rules: Mapping[TopicPartition, TimeRule], *, tells: bool = False) -> None:
        """`tells`: whether a stage behind this one wants to know whether there is more to come."""
        self._inputs, self._rules, self.tells = tuple(rules), tuple(rules.values()), tells
        self.can_idle = any(rule.idle_after_ms is not None for rule in self._rules)
        self.by_clock = any(rule.by_clock for rule in self._rules)
        self.restore({}, None)

    def restore(self, known: Mapping[TopicPartition, InputTime], time: TaskTime | None) -> None:
        """Go back to what was committed; inputs that are not in `known` begin anew, time as a whole never does."""
        inputs = tuple(known.get(at) or start_input(rule) for at, rule in zip(self._inputs, self._rules, strict=True))
        self.time = TaskTime(inputs=inputs) if time is None else replace(time, inputs=inputs)
        self.committed(self.time)

    def committing(self, *, more: bool) -> TaskTime:
        """Time to go on from behind a commit that tells whether there is `more` to read."""
        return replace(self.time, told_more=more) if self.tells else self.time

    def committed(self, time: TaskTime) -> None:
        """What `news` gave was told, and `time` kept."""
        self.time, self._told_ms, self._anew_ms = time, time.said_ms, NO_WATERMARK

    def news(self, *, more: bool) -> tuple[int | None, int | None]:
        """What this task's markers are to say before and behind the rows of a commit; None where that is no news.

        Before them there is something to say only when time begins anew after the end of time: or all rows were late.
        `more`: whether it has more to read now, which is told too.
        """
        before = None if self._anew_ms == NO_WATERMARK else self._anew_ms
        known = self._told_ms if before is None else before
        new = self.time.said_ms not in (known, NO_WATERMARK) or (self.tells and more != self.time.told_more)
        return before, self.time.said_ms if new else None

    def on_the_way(self, at: TopicPartition) -> bool:
        """Whether rows of an input are known to come that are not on the log yet."""
        i = self._inputs.index(at)
        known, rule = self.time.inputs[i], self._rules[i]
        return not known.idle and (bool(known.busy) or (rule.ends and known.watermark_ms != END_OF_TIME))

    def step(
        self,
        arrived: Sequence[Arrived],
        *,
        now_ms: int,
        caught_up: Collection[TopicPartition],
        idle: Sequence[TopicPartition] | None,
    ) -> tuple[list[pl.Series], tuple[TopicPartition, ...]]:
        """`@wm` of the rows that have arrived on each input, and the inputs held to be idle from now on.

        `caught_up`: inputs known to hold no more at present. `idle`: the inputs that a journal says were held to be
        idle; None decides it by `now_ms`.
        """
        of = {one.at: one for one in arrived}
        rows = [
            StepRows(
                ts=of[place].frame[TS], order=of[place].order, positions=of[place].frame[POSITION],
                markers=_watermarks(of[place].markers), caught_up=False,
            ) if place in of
            else StepRows(ts=_NO_ROWS, order=_NO_ORDER, caught_up=place in caught_up)
            for place in self._inputs
        ]  # fmt: skip
        decisions = None if idle is None else [IdleDecision(self._inputs.index(place)) for place in idle]
        done = advance(self._rules, self.time, rows, now_ms=now_ms, decisions=decisions)
        self.time = done.after
        marks = [done.watermarks[self._inputs.index(one.at)] for one in arrived]
        if self._told_ms == END_OF_TIME and self._anew_ms == NO_WATERMARK:
            seen = [ms for own in marks if isinstance(ms := own.filter(own != END_OF_TIME).min(), int)]
            known = [*seen, *([self.time.watermark_ms] if self.time.watermark_ms != END_OF_TIME else [])]
            self._anew_ms = min(known, default=NO_WATERMARK)
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
                ends=plan.internal and plan.topic not in upstream,
                aside=plan.aside or plan.back,
            )
            for at, plan in inputs.items()
        },
        tells=_leads_to_several(stage, topology),
    )


def _leads_to_several(stage: StagePlan, topology: Topology) -> bool:
    """Whether a stage with several inputs stands behind this one, on topics that tell time."""
    ahead, seen = [stage], {stage.id}
    while ahead:
        told = {sink.topic for sink in ahead.pop().sinks if sink.watermarks}
        readers = [s for s in topology.stages if any(i.internal and i.topic in told for i in s.inputs)]
        if any(sum(not i.back for i in reader.inputs) > 1 for reader in readers):
            return True
        ahead += [reader for reader in readers if reader.id not in seen]
        seen |= {reader.id for reader in readers}
    return False


def _watermarks(markers: Sequence[Record]) -> list[Marker]:
    found = []
    for marker in markers:
        if marker.type == WATERMARK:
            told = orjson.loads(marker.value)
            found.append(Marker(marker.offset, told["task"], told["watermark_ms"], told.get("more", False)))
    return found
