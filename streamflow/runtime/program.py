"""A stage made runnable for one task: operators, stores, decoders, encoders. Computes; does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import polars as pl

from streamflow.codecs import CodecSpec, Decoded, Decoder, Marker, decoder
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import GONE, KEY, POSITION, ROW, TS, WM, Batch
from streamflow.model.positions import TopicPartition
from streamflow.runtime.build import Functions, build_graph
from streamflow.runtime.checkpoint import make_state
from streamflow.runtime.committed import InputState
from streamflow.runtime.context import StepClock
from streamflow.runtime.deadletter import RECORD_BYTES_MAX
from streamflow.runtime.emit import Emitted, Emitter, SinkRows, batch_bytes_max
from streamflow.runtime.event_time import NO_WATERMARK
from streamflow.runtime.graph import NodeCounts, StepOutput
from streamflow.runtime.journal import JournalRecord, JournalStep
from streamflow.runtime.seed import Seeder, Segment
from streamflow.runtime.stepped import Stepped, cut, located
from streamflow.runtime.task_clock import make_clock
from streamflow.sdk.log import RecordBatch, TopicInfo
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import InputPlan, StagePlan, Topology


class TaskProgram:
    """All that a task of a stage computes with. One step at a time; any thread."""

    def __init__(
        self,
        topology: Topology,
        stage: StagePlan,
        *,
        partition: int,
        tasks: int,
        topics: Mapping[str, TopicInfo],
        nodes: NodeRegistry,
        functions: Functions | None = None,
        registry: SchemaRegistry | None = None,
        files_folder: str = "",
        state_folder: str = "",
    ) -> None:
        """`files_folder`: where files are written instead of beside the workflow file (a replay). `state_folder`: below
        which state is kept on disk; none keeps it in memory.
        """
        self.stage, self.partition = stage, partition
        self.clock = StepClock()
        self.topics = topics
        known = topics.get(stage.dead_letter)
        self.letter_bytes_max = RECORD_BYTES_MAX if known is None else batch_bytes_max(known, RECORD_BYTES_MAX)
        self.state = make_state(topology, stage, partition, topics, state_folder)
        self.stores = self.state.stores
        written = {s.topic: topics[s.topic].partitions for s in stage.sinks}
        self.graph = build_graph(
            topology, stage, nodes, self.stores, self.clock,
            partition=partition, functions=functions or {}, files_folder=files_folder, topic_partitions=written,
        )  # fmt: skip
        self.seeders: dict[str, Seeder] = {}
        self._decoders: dict[str, Decoder] = {}
        self.inputs: dict[TopicPartition, InputPlan] = {}
        reserved = [c for c in stage.needs if c in (KEY, TS, "@headers")]
        for plan in stage.inputs:
            if plan.source or partition >= topics[plan.topic].partitions:
                continue
            at = TopicPartition(plan.topic, partition)
            self.inputs[at] = plan
            source = f"{plan.topic}#{topics[plan.topic].incarnation}/{partition}"
            self.seeders[plan.node] = Seeder(
                plan, stage.needs, source=source, partition=partition, vars=dict(topology.vars)
            )
            wanted = {*reserved, *((TS,) if stage.timed else ())}
            if plan.gone is not None and not plan.internal:
                wanted |= {GONE, KEY, TS}
            self._decoders[plan.node] = decoder(
                _codec(plan), registry=registry, reserved=sorted(wanted), markers=plan.internal
            )
        # An input may have fewer partitions than the widest one: only the first tasks see its executions end.
        self._readers = {i.node: min(tasks, topics[i.topic].partitions) for i in self.inputs.values()}
        self.time = make_clock(stage, self.inputs, topology, topics)
        width = max((topics[i.topic].partitions for i in stage.inputs if i.topic), default=1)
        self.emitter = Emitter(
            stage,
            partition=partition,
            input_partitions=width,
            topic_partitions=written,
            limits={s.topic: batch_bytes_max(topics[s.topic]) for s in stage.sinks},
            registry=registry,
            behind_ms=self.graph.behind_ms,
        )

    def restore(self, record: JournalRecord | None, known: Collection[TopicPartition]) -> None:
        """Go on from what a commit kept in its journal record; inputs that are not in `known` begin anew."""
        states = dict(zip(record.inputs, record.open, strict=True)) if record is not None else {}
        for at, plan in self.inputs.items():
            state = states.get(at) if at in known else None
            self.seeders[plan.node].state = state or InputState()
        if self.time is not None:
            time = record.time if record is not None and known else None
            times = dict(zip(record.inputs, time.inputs, strict=True)) if record is not None and time else {}
            self.time.restore(
                {at: told for at, told in times.items() if at in known}, time.watermark_ms if time else NO_WATERMARK
            )

    def journal(self, steps: Sequence[JournalStep], number: int) -> JournalRecord:
        """The record of a commit; `number` is taken where something is to be kept."""
        open = {at: self.seeders[plan.node].state for at, plan in self.inputs.items()}
        record = JournalRecord(stage=self.stage.id, partition=self.partition, steps=tuple(steps))
        if self.time is None and all(state == InputState() for state in open.values()):
            return record
        time = None if self.time is None else self.time.time
        return replace(record, number=number, inputs=tuple(open), open=tuple(open.values()), time=time)

    def watermarks(self, now_ms: int) -> tuple[Emitted, Emitted]:
        """Markers of this task's event time for before and behind the rows of a commit, where it is news."""
        before, behind = (None, None) if self.time is None else self.time.news()
        return self.emitter.watermark(before, now_ms), self.emitter.watermark(behind, now_ms)

    def committed(self) -> None:
        """What `journal` and `watermarks` gave is on the log."""
        if self.time is not None:
            self.time.committed()

    def quiet(
        self,
        now_ms: int,
        caught_up: Collection[TopicPartition],
        idle: Sequence[TopicPartition] | None = None,
        *,
        first: int = 0,
    ) -> Stepped | None:
        """A step without records: inputs that have been silent for too long are not waited for, or the clock has moved
        time on. None: nothing changed.

        `first`: where the task stands on its first input. `idle`: the inputs that a journal says were held to be idle
        then.
        """
        if self.time is None or not (self.time.can_idle or self.time.by_clock or idle):
            return None
        ticks = idle is not None and not idle  # what a journal says of a step that has neither records nor idle inputs
        if not ticks:
            _, idle = self.time.step(None, None, (), now_ms=now_ms, caught_up=caught_up, idle=idle)
            ticks = not idle and self.time.must_tick(now_ms, caught_up)
        if ticks:
            self.time.tick(now_ms)
        elif not idle:
            return None
        self.clock.now_ms, self.clock.watermark_ms = now_ms, self.time.time.watermark_ms
        done = Stepped(node=next(iter(self.inputs.values())).node, end_offset=0, idle=tuple(idle or ()))
        self._absorb(self.graph.advance(), pl.Series(POSITION, [], dtype=pl.Int64), done, first=first)
        return done

    def step(
        self,
        at: TopicPartition,
        batches: Sequence[RecordBatch],
        *,
        first: int,
        limit: int | None,
        now_ms: int,
        caught_up: Collection[TopicPartition] = (),
        idle: Sequence[TopicPartition] | None = None,
    ) -> Stepped:
        """Process records `first` (inclusive) to `limit` (exclusive; None: all) of one input partition.

        `caught_up`: other inputs that are known to hold no more at present. `idle`: the inputs that a journal says were
        held to be idle from this step on; None decides it.
        """
        plan = self.inputs[at]
        self.clock.now_ms = now_ms
        decoded = self._decoders[plan.node].decode(batches, first_offset=first)
        if limit is not None and decoded.end_offset > limit:
            decoded = cut(decoded, limit)
        done = Stepped(
            node=plan.node,
            end_offset=decoded.end_offset,
            rows_in=decoded.frame.height + len(decoded.bad),
            markers=len(decoded.markers),
        )
        if plan.by_clock and TS in decoded.frame.columns:
            read_at = now_ms if self.time is None else self.time.read_at(at, now_ms)
            decoded = replace(decoded, frame=decoded.frame.with_columns(pl.lit(read_at, dtype=pl.Int64).alias(TS)))
        positions = decoded.frame[POSITION]
        self._bad(plan, decoded, done)

        def watermarks(frame: pl.DataFrame, markers: Sequence[Marker]) -> pl.Series:
            assert self.time is not None
            marks, done.idle = self.time.step(at, frame, markers, now_ms=now_ms, caught_up=caught_up, idle=idle)
            return marks

        segments, failed = self.seeders[plan.node].seed(decoded, None if self.time is None else watermarks)
        if failed is not None and len(failed):
            self._dead(plan, failed, positions, done)
        for segment in segments:
            self._tell_time(segment, last=segment is segments[-1])
            done.rows += len(segment.rows)
            if len(segment.rows):
                self._absorb(self.graph.step(plan.node, segment.rows), positions, done, first=first)
            elif segment is segments[-1] and self.time is not None:
                self._absorb(self.graph.advance(), positions, done, first=first)
            if segment.ended:
                self._absorb(self.graph.end(segment.ended), positions, done, ended_at=segment.at)
                self._written(self.emitter.ends(segment.ended, now_ms, tasks=self._readers[plan.node]), done)
        return done

    def _tell_time(self, segment: Segment, *, last: bool) -> None:
        """What operators may know of event time behind the rows of a segment, whatever follows in the same step."""
        if self.time is not None and last:
            self.clock.watermark_ms = self.time.time.watermark_ms
        elif WM in segment.rows.frame.columns and len(segment.rows):
            self.clock.watermark_ms = segment.rows.frame[WM][-1]

    def take_counts(self) -> dict[str, NodeCounts]:
        return self.graph.take_counts()

    def _bad(self, plan: InputPlan, decoded: Decoded, done: Stepped) -> None:
        if not decoded.bad:
            return
        if plan.errors.on_error == "continue":
            done.source_continued += len(decoded.bad)
            return
        done.bad.extend(decoded.bad)
        done.source_dead += len(decoded.bad)
        if plan.errors.on_error == "stop":
            first = decoded.bad[0]
            self._stop(first.offset, f"trigger {plan.node!r}: {first.code}: {first.message}", done)

    def _dead(self, plan: InputPlan, failed: Batch, positions: pl.Series, done: Stepped) -> None:
        if plan.errors.on_error == "continue":
            done.source_continued += len(failed)
            return
        done.source_dead += len(failed)
        if plan.errors.on_error == "stop":
            first = failed.frame.row(0, named=True)
            text = f"trigger {plan.node!r}: {first['@error_code']}: {first['@error_message']}"
            self._stop(positions[first[ROW]], text, done)
        frame = failed.frame.with_columns(pl.lit(plan.node).alias("@error_node"))
        done.dead.append(located(failed.with_frame(frame), positions))

    def _absorb(
        self, out: StepOutput, positions: pl.Series, done: Stepped, *, ended_at: int = -1, first: int = 0
    ) -> None:
        """`ended_at`: offset of the marker that made rows come out of state, if it was one. `first`: the first offset
        of the step, which is where a failure stops it that no record stands for.
        """

        def offset(row: int) -> int:
            if ended_at >= 0:
                return ended_at
            at: int = positions[row] if row < len(positions) else first
            return at

        if out.stop_row is not None:
            self._stop(offset(out.stop_row), out.stop_text, done)
        emitted = self.emitter.emit(out.records)
        self._written(emitted, done)
        for rows in emitted.dead:
            self._stop_unwritten(rows, offset, done)
        for rows in (*out.dead, *emitted.dead):
            done.dead.append(located(rows, positions))

    def _stop_unwritten(self, rows: Batch, offset: Callable[[int], int], done: Stepped) -> None:
        """Rows that their topic cannot hold are dead-lettered, unless their node's policy is to stop."""
        first = rows.frame.sort(ROW).row(0, named=True)
        node = next((n for n in self.stage.nodes if n.id == first["@error_node"]), None)
        if node is not None and node.errors.on_error == "stop":
            self._stop(offset(first[ROW]), f"node {node.id!r}: {first['@error_code']}: {first['@error_message']}", done)

    def _written(self, emitted: Emitted, done: Stepped) -> None:
        for to, batches in emitted.writes.items():
            done.writes.setdefault(to, []).extend(batches)
        for place, count in emitted.counts.items():
            total = done.sinks.setdefault(place, SinkRows())
            total.rows += count.rows
            total.markers += count.markers
            total.dead_lettered += count.dead_lettered

    def _stop(self, offset: int, text: str, done: Stepped) -> None:
        if done.stop_offset is None or offset < done.stop_offset:
            done.stop_offset, done.stop_text = offset, text


def _codec(plan: InputPlan) -> CodecSpec:
    assert plan.codec is not None, "an input that reads a topic has a codec"
    return plan.codec
