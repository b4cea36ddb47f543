"""A stage made runnable for one task: operators, stores, decoders, encoders. Computes; does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from streamflow.codecs import BadRecord, CodecSpec, Decoded, Decoder, decoder
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import KEY, POSITION, ROW, TS, Batch
from streamflow.model.positions import TopicPartition
from streamflow.runtime.build import Functions, TaskBuildContext, build_node, kept_schemas
from streamflow.runtime.context import StepClock, TaskContext
from streamflow.runtime.emit import Emitted, Emitter, SinkRows, Writes
from streamflow.runtime.graph import Graph, NodeCounts, StepOutput
from streamflow.runtime.seed import InputState, Seeder
from streamflow.sdk.log import RecordBatch, TopicInfo
from streamflow.sdk.operator import Operator
from streamflow.sdk.registry import NodeRegistry
from streamflow.sdk.state import TransactionalStore
from streamflow.state.memory import MemoryStore
from streamflow.topology.plan import InputPlan, StagePlan, Topology


@dataclass(slots=True)
class FailedRows:
    """Rows for the dead letter topic, with the offsets of the records that they came from (None: out of state)."""

    rows: Batch
    offsets: pl.Series  # Int64, null where no record of this step stands for the row


@dataclass(slots=True)
class Stepped:
    """What one step of a task made, ready to be committed."""

    node: str  # whose rows these are
    end_offset: int
    rows_in: int = 0
    writes: Writes = field(default_factory=dict)
    rows: int = 0  # of rows_in, those handed to the graph
    markers: int = 0
    source_dead: int = 0  # records that did not decode, or have no key or time
    source_continued: int = 0  # the same under policy `continue`
    sinks: dict[tuple[str, TopicPartition], SinkRows] = field(default_factory=dict)
    dead: list[FailedRows] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)  # records that did not decode
    stop_offset: int | None = None  # the first record that must not be committed
    stop_text: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(len(b.body) for batches in self.writes.values() for b in batches)


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
    ) -> None:
        self.stage, self.partition = stage, partition
        self.clock = StepClock()
        self.stores: dict[tuple[str, str], TransactionalStore] = {(s.node, s.name): MemoryStore() for s in stage.stores}
        self.graph = build_graph(
            topology, stage, nodes, self.stores, self.clock, partition=partition, functions=functions or {}
        )
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
            wanted = {*reserved, *((TS,) if "@wm" in stage.needs else ())}
            self._decoders[plan.node] = decoder(_codec(plan), registry=registry, reserved=sorted(wanted))
        width = max((topics[i.topic].partitions for i in stage.inputs if i.topic), default=1)
        self.emitter = Emitter(
            stage,
            partition=partition,
            tasks=tasks,
            input_partitions=width,
            topic_partitions={s.topic: topics[s.topic].partitions for s in stage.sinks},
            registry=registry,
        )

    def state_of(self, at: TopicPartition) -> InputState:
        return self.seeders[self.inputs[at].node].state

    def set_state(self, at: TopicPartition, state: InputState) -> None:
        self.seeders[self.inputs[at].node].state = state

    def step(
        self, at: TopicPartition, batches: Sequence[RecordBatch], *, first: int, limit: int | None, now_ms: int
    ) -> Stepped:
        """Process records `first` (inclusive) to `limit` (exclusive; None: all) of one input partition."""
        plan = self.inputs[at]
        self.clock.now_ms = now_ms
        decoded = self._decoders[plan.node].decode(batches, first_offset=first)
        if limit is not None and decoded.end_offset > limit:
            decoded = _cut(decoded, limit)
        done = Stepped(
            node=plan.node,
            end_offset=decoded.end_offset,
            rows_in=decoded.frame.height + len(decoded.bad),
            markers=len(decoded.markers),
        )
        positions = decoded.frame[POSITION]
        self._bad(plan, decoded, done)
        segments, failed = self.seeders[plan.node].seed(decoded)
        if failed is not None and len(failed):
            self._dead(plan, failed, positions, done)
        for segment in segments:
            done.rows += len(segment.rows)
            if len(segment.rows):
                self._absorb(self.graph.step(plan.node, segment.rows), positions, done)
            if segment.ended:
                self._absorb(self.graph.end(segment.ended), positions, done, ended_at=segment.at)
                self._written(self.emitter.ends(segment.ended, now_ms), done)
        return done

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
        done.dead.append(_located(failed.with_frame(frame), positions))

    def _absorb(self, out: StepOutput, positions: pl.Series, done: Stepped, *, ended_at: int = -1) -> None:
        """`ended_at`: offset of the marker that made rows come out of state, if it was one."""
        if out.stop_row is not None:
            self._stop(positions[out.stop_row] if ended_at < 0 else ended_at, out.stop_text, done)
        emitted = self.emitter.emit(out.records)
        self._written(emitted, done)
        for rows in emitted.dead:
            self._stop_unwritten(rows, positions, done, ended_at=ended_at)
        for rows in (*out.dead, *emitted.dead):
            done.dead.append(_located(rows, positions))

    def _stop_unwritten(self, rows: Batch, positions: pl.Series, done: Stepped, *, ended_at: int) -> None:
        """Rows that their topic cannot hold are dead-lettered, unless their node's policy is to stop."""
        first = rows.frame.sort(ROW).row(0, named=True)
        node = next((n for n in self.stage.nodes if n.id == first["@error_node"]), None)
        if node is not None and node.errors.on_error == "stop":
            at = positions[first[ROW]] if ended_at < 0 else ended_at
            self._stop(at, f"node {node.id!r}: {first['@error_code']}: {first['@error_message']}", done)

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


def build_graph(
    topology: Topology,
    stage: StagePlan,
    nodes: NodeRegistry,
    stores: Mapping[tuple[str, str], TransactionalStore],
    clock: StepClock,
    *,
    partition: int,
    functions: Functions,
    **options: object,
) -> Graph:
    """The stage's graph with an operator and a context for each node."""
    operators: dict[str, Operator] = {}
    contexts: dict[str, TaskContext] = {}
    one_to_one = set()
    for plan in stage.nodes:
        node = build_node(plan, nodes)
        if node.spec.one_to_one:
            one_to_one.add(plan.id)
        operators[plan.id] = node.operator(
            TaskBuildContext(
                node_id=plan.id,
                inputs=plan.inputs,
                outputs=plan.outputs,
                extent=plan.extent,
                vars=topology.vars,
                base_folder=topology.base_folder,
                partition=partition,
                kept=kept_schemas(topology, plan),
                functions=functions,
                schemas=topology.schemas,
            )
        )
        contexts[plan.id] = TaskContext(
            workflow=topology.workflow,
            stage=stage.id,
            node=plan.id,
            partition=partition,
            clock=clock,
            stores={name: store for (node_id, name), store in stores.items() if node_id == plan.id},
        )
    return Graph(stage, operators, contexts, one_to_one=frozenset(one_to_one), **options)  # type: ignore[arg-type]


def _codec(plan: InputPlan) -> CodecSpec:
    assert plan.codec is not None, "an input that reads a topic has a codec"
    return plan.codec


def _located(rows: Batch, positions: pl.Series) -> FailedRows:
    index = rows.frame[ROW].cast(pl.Int64)
    known = index < len(positions)
    safe = pl.select(pl.when(known).then(index)).to_series()
    offsets = positions.gather(safe) if safe.null_count() == 0 else _gather(positions, safe)
    return FailedRows(rows, offsets.cast(pl.Int64))


def _gather(positions: pl.Series, index: pl.Series) -> pl.Series:
    values = [None if i is None else positions[i] for i in index.to_list()]
    return pl.Series(POSITION, values, dtype=pl.Int64)


def _cut(decoded: Decoded, limit: int) -> Decoded:
    """Only what stands before offset `limit`."""
    return Decoded(
        frame=decoded.frame.filter(pl.col(POSITION) < limit),
        bad=[b for b in decoded.bad if b.offset < limit],
        end_offset=limit,
        markers=[m for m in decoded.markers if m.offset < limit],
    )
