"""A stage made runnable for one task: operators, stores, decoders, encoders. Computes; does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import polars as pl

from streamflow.codecs import CodecSpec, Decoder, decoder
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import DEADLINE, ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, GONE, KEY, POSITION, ROW, TS, Batch
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.operators.control import ControlOperator
from streamflow.operators.signals import SIGNAL
from streamflow.runtime.again import AgainInput
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.build import Functions, build_graph
from streamflow.runtime.checkpoint import make_state
from streamflow.runtime.committed import InputState
from streamflow.runtime.context import StepClock
from streamflow.runtime.control import NODE, Endings, copies
from streamflow.runtime.deadletter import RECORD_BYTES_MAX
from streamflow.runtime.emit import Emitted, Emitter, SinkRows, batch_bytes_max
from streamflow.runtime.execution_counts import Ints
from streamflow.runtime.feeds import grown
from streamflow.runtime.graph import NodeCounts, StepOutput
from streamflow.runtime.history import History
from streamflow.runtime.journal import JournalRecord, JournalStep
from streamflow.runtime.pieces import Piece, pieces_of
from streamflow.runtime.races import decided
from streamflow.runtime.races import writes as orders_of_races
from streamflow.runtime.seed import Seeder, Segment
from streamflow.runtime.spent import DECODE, ENCODE
from streamflow.runtime.stepped import FailedRows, Places, Stepped, Stop, Taken, ids_of
from streamflow.runtime.task_clock import make_clock
from streamflow.sdk.log import RecordBatch, TopicInfo
from streamflow.sdk.registry import NodeRegistry
from streamflow.state.task_state import TaskState
from streamflow.topology.plan import InputPlan, StagePlan, StorePlan, TablePlan, Topology


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
        live: bool = False,
        state_folder: str = "",
        every_partition: bool = False,
        state: TaskState | None = None,
    ) -> None:
        """`live`: whether effects outside the log are wanted. `files_folder`: where files are written instead of beside
        the workflow file (a replay). `state_folder`: below which state is kept on disk; none keeps it in memory.
        `every_partition`: it reads all of its inputs, not only those of its own number (the copy of a global table).
        `state`: its stores, where they are there already.
        """
        self.stage, self.partition, self.tasks = stage, partition, tasks
        self.clock = StepClock()
        self.topics = topics
        letters = topics.get(stage.dead_letter)
        self.letter_bytes_max = RECORD_BYTES_MAX if letters is None else batch_bytes_max(letters, RECORD_BYTES_MAX)
        self.state = state or make_state(topology, stage, partition, topics, state_folder)
        self.stores = self.state.stores
        # Copies of global tables, each a program of its own; nodes that look into one share its store.
        self.tables = {
            table.node.id: TaskProgram(
                topology, copying(stage, table), partition=partition, tasks=tasks, topics=topics, nodes=nodes,
                functions=functions, registry=registry, state_folder=state_folder, every_partition=True,
            )
            for table in copies(stage)
        }  # fmt: skip
        known = {**self.stores}
        for table in self.tables.values():
            known.update(table.stores)
        written = {s.topic: topics[s.topic].partitions for s in stage.sinks}
        self._partitions = {feed.topic: topics[feed.topic].partitions for feed in stage.feeds}
        self.graph = build_graph(
            topology, stage, nodes, known, self.clock,
            partition=partition, functions=functions or {}, files_folder=files_folder, live=live,
            topic_partitions=written,
        )  # fmt: skip
        self.endings: Endings | None = None
        if stage.control:
            control = self.tables[NODE].graph.operator(NODE)
            assert isinstance(control, ControlOperator)
            self.graph.endings = self.endings = Endings(stage, control.orders)
        self.seeders: dict[TopicPartition, Seeder] = {}
        self._decoders: dict[str, Decoder] = {}
        self.inputs: dict[TopicPartition, InputPlan] = {}
        reserved = [c for c in stage.needs if c in (KEY, TS, "@headers")]
        for plan in stage.inputs:
            count = 0 if plan.source else topics[plan.topic].partitions
            for number in range(count) if every_partition else range(partition, min(partition + 1, count)):
                at = TopicPartition(plan.topic, number)
                self.inputs[at] = plan
                source = f"{plan.topic}#{topics[plan.topic].incarnation}/{number}"
                self.seeders[at] = Seeder(plan, stage.needs, source=source, partition=number, vars=dict(topology.vars))
            if count == 0 or plan not in self.inputs.values():
                continue
            wanted = {*reserved, *((TS,) if stage.timed else ())} - {e.column for e in plan.envelope}
            if plan.gone is not None and not plan.internal:
                wanted |= {GONE, KEY, TS}
            self._decoders[plan.node] = decoder(
                _codec(plan), registry=registry, reserved=sorted(wanted), markers=plan.internal,
                columns=[f.name for f in plan.schema.fields] if plan.aside else None, grown=plan.schema == SIGNAL,
            )  # fmt: skip
        # An input may have fewer partitions than the widest one: only the first tasks see its executions end.
        kinds = {t.name: t.kind for t in topology.topics}
        # Triggers whose items are executions: dead letters name these by the places of their records, where no row
        # tells and none comes out of state.
        named = stage.again or not stage.stores
        begins = {i.node for i in stage.inputs if i.extent == "item" and kinds.get(i.topic) != "repartition"}
        self._beginning = begins if named else set[str]()
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

        self.history = (
            History.of(topology, stage, partition, topics, self.graph, self.seeders)
            if stage.executions in topics
            else None
        )
        self.again = self._again(topology, stage, topics)

    def _again(self, topology: Topology, stage: StagePlan, topics: Mapping[str, TopicInfo]) -> AgainInput | None:
        """What takes in items that are given again, if this task may be given some."""
        if stage.again not in topics or self.partition >= topics[stage.again].partitions:
            return None
        source = f"{stage.again}#{topics[stage.again].incarnation}/{self.partition}"
        return AgainInput(topology, stage, self, TopicPartition(stage.again, self.partition), source)

    @contextmanager
    def given_again(self) -> Iterator[None]:
        """Within it rows of a step name their executions themselves, whoever took their records."""
        watch = self.history.watch if self.history else None
        own = watch.own if watch else False
        try:
            if watch:
                watch.own = False
            yield
        finally:
            if watch:
                watch.own = own

    def decoder_of(self, node: str) -> Decoder:
        """What reads the records of a trigger."""
        return self._decoders[node]

    def restore(self, record: JournalRecord | None, known: Collection[TopicPartition]) -> None:
        """Go on from what a commit kept in its journal record; inputs that are not in `known` begin anew."""
        states = dict(zip(record.inputs, record.open, strict=True)) if record is not None else {}
        for at in self.inputs:
            state = states.get(at) if at in known else None
            self.seeders[at].state = state or InputState()
        if self.time is not None:
            time = record.time if record is not None and known else None
            times = dict(zip(record.inputs, time.inputs, strict=True)) if record is not None and time else {}
            self.time.restore({at: told for at, told in times.items() if at in known}, time)

    def journal(self, steps: Sequence[JournalStep], number: int, *, more: bool) -> JournalRecord:
        """The record of a commit; `number` is taken where something is to be kept. `more`: see `watermarks`."""
        open = {at: self.seeders[at].state for at in self.inputs}
        record = JournalRecord(stage=self.stage.id, partition=self.partition, steps=tuple(steps))
        if self.time is None and all(state == InputState() for state in open.values()):
            return record
        time = None if self.time is None else self.time.committing(more=more)
        return replace(record, number=number, inputs=tuple(open), open=tuple(open.values()), time=time)

    def watermarks(self, now_ms: int, *, more: bool) -> tuple[Emitted, Emitted]:
        """Markers of this task's event time for before and behind the rows of a commit, where it is news.

        `more`: whether the task has more to read.
        """
        before, behind = (None, None) if self.time is None else self.time.news(more=more)
        tell = self.emitter.watermark
        return tell(before, now_ms, more=more), tell(behind, now_ms, more=more)

    def committed(self, journal: JournalRecord) -> None:
        """What `journal` and `watermarks` gave is on the log."""
        if self.time is not None and journal.time is not None:
            self.time.committed(journal.time)

    @property
    def merges(self) -> bool:
        """Whether rows of several inputs are taken in the order of their event times.

        Where one of them goes by the clock, that is the order in which they come.
        """
        several = sum(not plan.aside for plan in self.inputs.values()) > 1
        return several and self.time is not None and not self.time.by_clock

    def room(self, at: TopicPartition) -> int | None:
        """How many records of an input may be taken for now; None: any number."""
        return self.graph.room().get(self.inputs[at].node)

    def taken_ms(self) -> dict[TopicPartition, int]:
        """By input, the greatest event time of the rows that were taken."""
        return {} if self.time is None else {at: known.taken_ms for at, known in self.time.known().items()}

    def quiet(
        self,
        now_ms: int,
        caught_up: Collection[TopicPartition],
        idle: Sequence[TopicPartition] | None = None,
        *,
        here: tuple[TopicPartition, int],
        tell: bool = False,
    ) -> Stepped | None:
        """A step without records: inputs that have been silent for too long are not waited for, the clock has moved
        time on, or there is something to `tell` stages behind. None: nothing changed.

        `here`: where the task stands on its first input. `idle`: the inputs that a journal says were held to be idle
        then.
        """
        if self.time is None or not (self.time.can_idle or self.time.by_clock or tell or idle):
            return None
        ticks = idle is not None and not idle  # what a journal says of a step that has neither records nor idle inputs
        if not ticks:
            _, idle = self.time.step((), now_ms=now_ms, caught_up=caught_up, idle=idle)
            ticks = not idle and self.time.must_tick(now_ms, caught_up)
        if ticks:
            self.time.tick(now_ms)
        elif not idle and not tell:
            return None
        self.clock.now_ms, self.clock.watermark_ms = now_ms, self.time.time.watermark_ms
        done = Stepped(idle=tuple(idle or ()))
        self.begin_step()
        places = Places((), here)
        self.absorb(self.graph.advance(), places, done)
        self.end_step((), places, now_ms, done)
        return done

    def due_ms(self) -> int | None:
        """The earliest wall time at which an operator has something to do; None: none waits for the clock."""
        return self.graph.due_ms()

    def is_due(self, now_ms: int) -> bool:
        """Whether it is time by the clock for an operator to act."""
        due_ms = self.graph.due_ms()
        return due_ms is not None and due_ms <= now_ms

    def wake(self, now_ms: int, *, here: tuple[TopicPartition, int]) -> Stepped:
        """A step without records: operators act for which it is time by the clock.

        `here`: where the task stands on its first input.
        """
        self.clock.now_ms = now_ms
        if self.time is not None:
            self.clock.watermark_ms = self.time.time.watermark_ms
        done, places = Stepped(), Places((), here)
        self.begin_step()
        self.absorb(self.graph.wake(), places, done)
        self.end_step((), places, now_ms, done)
        return done

    def arrived(self, at: TopicPartition, batches: Sequence[RecordBatch], *, first: int, now_ms: int) -> Arrived:
        """What an input brings from offset `first` on, decoded, with keys and times."""
        plan = self.inputs[at]
        decoder = self._decoders[plan.node]
        decoded = self.graph.spent.on(DECODE, lambda: decoder.decode(batches, first_offset=first))
        frame = decoded.frame
        if plan.by_clock and TS in frame.columns:
            read_at = now_ms if self.time is None else self.time.read_at(at, now_ms)
            frame = frame.with_columns(pl.lit(read_at, dtype=pl.Int64).alias(TS))
        frame, failed = self.seeders[at].keyed(frame)
        return Arrived(
            at=at, first=first, end_offset=decoded.end_offset, frame=frame, failed=failed, bad=decoded.bad,
            markers=decoded.markers, batches=batches,
        )  # fmt: skip

    def step(
        self,
        arrived: Sequence[Arrived],
        *,
        now_ms: int,
        caught_up: Collection[TopicPartition] = (),
        idle: Sequence[TopicPartition] | None = None,
    ) -> Stepped:
        """Process the next records of one input, or of several in their order.

        `caught_up`: other inputs that are known to hold no more at present. `idle`: the inputs that a journal says were
        held to be idle from this step on; None decides it.
        """
        self.clock.now_ms = now_ms
        done, places = Stepped(), Places(arrived, (arrived[0].at, arrived[0].first))
        self.begin_step()
        if self.endings is not None:
            self.endings.begin(lambda rows: self._ids(rows, arrived, places), now_ms)
        for one in arrived:
            self._unseeded(one, done)
        marks: Sequence[pl.Series | None] = [None] * len(arrived)
        if self.time is not None:
            marks, done.idle = self.time.step(arrived, now_ms=now_ms, caught_up=caught_up, idle=idle)
        segments: dict[str, list[Segment]] = {}
        for one, taken, own in zip(arrived, done.taken, marks, strict=True):
            frame = one.frame
            if DEADLINE in self.stage.needs and (allowed_ms := self.inputs[one.at].timeout_ms):
                frame = frame.with_columns(pl.lit(now_ms + allowed_ms, dtype=pl.Int64).alias(DEADLINE))
            segments[taken.node] = self.seeders[one.at].segments(frame, one.markers, one.order, own)
            taken.rows = one.frame.height
        *before, last = pieces_of(segments)
        for piece in before:
            self._push(piece, places, done, last=False)
        self._push(last, places, done, last=True)
        if self.endings is not None:
            self.endings.done()
        self.end_step(arrived, places, now_ms, done)
        return done

    def begin_step(self) -> None:
        """A step begins; what was noted of one that was broken off is forgotten."""
        if self.history:
            self.history.begin()
        if self.graph.feeds:
            self.graph.feeds.clear()
        if self.stage.races:
            decided(self.stage, self.graph)

    def end_step(self, arrived: Sequence[Arrived], places: Places, now_ms: int, done: Stepped) -> None:
        """A step is done: what is told of its executions goes behind its rows."""
        if self.graph.feeds:
            self._written(self.graph.feeds.take(self._partitions, now_ms), done)
        if self.stage.races and (said := decided(self.stage, self.graph)):
            self._written(Emitted(writes=orders_of_races(self.stage, said, now_ms)), done)
        if self.history:
            self.history.end(arrived, places, now_ms, done)

    def _push(self, piece: Piece, places: Places, done: Stepped, *, last: bool) -> None:
        """Rows through the graph, and the end of the execution that ends behind them."""
        # What operators may know of event time behind these rows, whatever follows in the same step.
        if self.time is not None and last:
            self.clock.watermark_ms = self.time.time.watermark_ms
        elif (known := piece.watermark_ms()) is not None:
            self.clock.watermark_ms = known
        if piece.rows:
            self.absorb(self.graph.step(piece.rows), places, done)
        elif last and self.time is not None:
            self.absorb(self.graph.advance(), places, done)
        if piece.ended:
            at = next(taken.at for taken in done.taken if taken.node == piece.node)
            ended_at = Stop(at, piece.offset, "", (piece.rank, 0))
            self.absorb(self.graph.end(piece.ended), places, done, ended_at=ended_at)
            if self.history:
                self.history.watch.ended(piece.ended, self._readers[piece.node])
            told = self.emitter.ends(piece.ended, self.clock.now_ms, tasks=self._readers[piece.node])
            self._written(told, done)
        if piece.grown:
            at = next(taken.at for taken in done.taken if taken.node == piece.node)
            told_at = Stop(at, piece.offset, "", (piece.rank, 0))
            self.absorb(self.graph.settle(piece.node, *grown(piece.grown)), places, done, ended_at=told_at)

    def forget_orders(self) -> None:
        """The copy of a control topic is begun anew."""
        for node in self.stage.nodes:
            if isinstance(operator := self.graph.operator(node.id), ControlOperator):
                operator.orders.clear()

    def _ids(self, rows: Ints, arrived: Sequence[Arrived], places: Places) -> pl.Series:
        return ids_of(rows, [self.seeders[one.at].source for one in arrived], places)

    def take_counts(self) -> dict[str, NodeCounts]:
        return self.graph.take_counts()

    def _unseeded(self, arrived: Arrived, done: Stepped) -> None:
        """What was taken of an input, and which records of it are no rows."""
        plan = self.inputs[arrived.at]
        if self.history:
            self.history.unseeded(plan, arrived)
        taken = Taken(
            node=plan.node, at=arrived.at, range=OffsetRange(arrived.first, arrived.end_offset),
            rows_in=arrived.records, markers=len(arrived.markers), batches=arrived.batches,
            source=self.seeders[arrived.at].source if plan.node in self._beginning else "",
        )  # fmt: skip
        done.taken.append(taken)
        self._lost(plan, arrived, len(done.taken) - 1, done)

    def unseeded(self, plan: InputPlan, arrived: Arrived, number: int, done: Stepped) -> None:
        """The same of records that are given again: they are taken already."""
        if self.history:
            self.history.unseeded(plan, arrived, done.taken[number].source)
        self._lost(plan, arrived, number, done)

    def _lost(self, plan: InputPlan, arrived: Arrived, number: int, done: Stepped) -> None:
        """Records that are no rows. `number`: of what was taken."""
        failed, taken = arrived.failed, done.taken[number]
        lost = len(arrived.bad) + (0 if failed is None else len(failed))
        if plan.errors.on_error == "continue":
            taken.continued += lost
            if "continue" in self.stage.also_told:
                taken.passed.extend(arrived.bad)
                if failed is not None and len(failed):
                    done.told.append(self._failed_rows(plan, failed, number))
            return
        taken.dead += lost
        taken.bad.extend(arrived.bad)
        if failed is not None and len(failed):
            lost_rows = self._failed_rows(plan, failed, number)
            offsets = lost_rows.offsets
            done.dead.append(lost_rows)
            first = failed.frame.row(0, named=True)
            self._stop_at_trigger(arrived, offsets[0], first[ERROR_CODE], first[ERROR_MESSAGE], done)
        if arrived.bad:
            bad = arrived.bad[0]
            self._stop_at_trigger(arrived, bad.offset, bad.code, bad.message, done)

    @staticmethod
    def _failed_rows(plan: InputPlan, failed: Batch, number: int) -> FailedRows:
        """Rows of input `number` that failed before they were any."""
        frame = failed.frame.with_columns(pl.lit(plan.node).alias(ERROR_NODE))
        return FailedRows(failed.with_frame(frame), failed.frame[POSITION], np.full(len(failed), number))

    def _stop_at_trigger(self, arrived: Arrived, offset: int, code: str, message: str, done: Stepped) -> None:
        plan = self.inputs[arrived.at]
        if plan.errors.on_error == "stop":
            text = f"trigger {plan.node!r}: {code}: {message}"
            error = (plan.node, code, message)
            self._stop(Stop(arrived.at, offset, text, (arrived.rank(offset), 0), error), done)

    def absorb(self, out: StepOutput, places: Places, done: Stepped, *, ended_at: Stop | None = None) -> None:
        """What the graph gave becomes part of the step. `ended_at`: the marker that made rows come out of state, if it
        was one.
        """

        def stop(row: int, text: str) -> None:
            if ended_at is not None:
                self._stop(replace(ended_at, text=text, error=out.stop_error), done)
            else:
                rank = (row, 1) if row < len(places) else (0, -1)
                self._stop(Stop(*places.of(row), text, rank, out.stop_error), done)

        if out.stop_row is not None:
            stop(out.stop_row, out.stop_text)
        emitted = self.graph.spent.on(ENCODE, lambda: self.emitter.emit(out.records))
        self._written(emitted, done)
        for rows in emitted.dead:
            if self.history:
                self.history.watch.unwritten(rows)
            if self.graph.feeds:
                self.graph.feeds.unwritten(rows)
            self._stop_unwritten(rows, stop)
        for rows in (*out.dead, *emitted.dead):
            done.dead.append(places.located(rows))
        done.told += [places.located(rows) for rows in out.told]

    def _stop_unwritten(self, rows: Batch, stop: Callable[[int, str], None]) -> None:
        """Rows that their topic cannot hold are dead-lettered, unless their node's policy is to stop."""
        first = rows.frame.sort(ROW).row(0, named=True)
        node = next((n for n in self.stage.nodes if n.id == first[ERROR_NODE]), None)
        if node is not None and node.errors.on_error == "stop":
            stop(first[ROW], f"node {node.id!r}: {first[ERROR_CODE]}: {first[ERROR_MESSAGE]}")

    def _written(self, emitted: Emitted, done: Stepped) -> None:
        for to, batches in emitted.writes.items():
            done.writes.setdefault(to, []).extend(batches)
        for place, count in emitted.counts.items():
            total = done.sinks.setdefault(place, SinkRows())
            total.rows += count.rows
            total.markers += count.markers
            total.dead_lettered += count.dead_lettered

    def _stop(self, stop: Stop, done: Stepped) -> None:
        if done.stop is None or stop.rank < done.stop.rank:
            done.stop = stop


def copying(stage: StagePlan, table: TablePlan) -> StagePlan:
    """What keeps a copy of a global table for a task of a stage. `~` is in no name of a stage."""
    return StagePlan(
        id=f"{stage.id}~{table.node.id}",
        inputs=(table.input,),
        nodes=(table.node,),
        stores=tuple(StorePlan(node=table.node.id, name=name, changelog="") for name in table.node.stores),
        needs=table.needs,
    )


def _codec(plan: InputPlan) -> CodecSpec:
    assert plan.codec is not None, "an input that reads a topic has a codec"
    return plan.codec
