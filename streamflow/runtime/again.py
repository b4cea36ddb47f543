"""Items that are given to a task again, by topic `<workflow>.again`: at a trigger, or at the node in which they failed.

The topic is read beside the task's inputs, between its steps: it takes no part in event time, and costs nothing while
nobody writes to it. What was read is a step of the journal. Records for other stages are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import polars as pl

from streamflow.codecs.records import Headers, Record, from_records
from streamflow.model.again import AGAIN_NODE
from streamflow.model.batch import (
    ERROR_CODE,
    ERROR_MESSAGE,
    ERROR_NODE,
    EXECUTION,
    PATH,
    POSITION,
    RESERVED,
    ROW,
    TS,
    WM,
    Batch,
)
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.model.types import ANY, PAYLOAD, Schema
from streamflow.operators.entered import enter, kept_types
from streamflow.runtime.again_records import Again, decode_again, decode_one, encode_again
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.build import kept_columns, kept_schemas
from streamflow.runtime.error_items import error_items
from streamflow.runtime.recoverable import ENTERED, ENTERED_SCHEMA, the_port
from streamflow.runtime.seed import Seeder
from streamflow.runtime.stepped import Origin, Places, Stepped, Taken
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import RecordBatch
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan, Topology

if TYPE_CHECKING:
    from streamflow.runtime.program import TaskProgram

NOT_RESUMABLE = "not_resumable"  # code of items that a node cannot take any more


class AgainInput:
    """The computing part, for one task. `source`: of the ids of executions that begin there."""

    def __init__(self, topology: Topology, stage: StagePlan, program: TaskProgram, at: TopicPartition, source: str):
        self.at, self.source = at, source
        self._topology, self._stage, self._program = topology, stage, program
        self._nodes = {n.id: n for n in stage.nodes}
        self._triggers = {i.node: i for i in stage.inputs if i.extent == "item"}
        self._seeders = {
            node: Seeder(
                plan, (*stage.needs, EXECUTION), source=source, partition=at.partition, vars=dict(topology.vars)
            )
            for node, plan in self._triggers.items()
        }

    def step(self, batches: Sequence[RecordBatch], first: int, end: int, now_ms: int) -> Stepped:
        """Take the records from offset `first` up to `end` (exclusive) in."""
        program = self._program
        told = [r for r in decode_again(batches, first_offset=first) if r.position < end]
        mine = [r for r in told if r.stage == self._stage.id]
        program.clock.now_ms = now_ms
        if program.time is not None:
            program.clock.watermark_ms = program.time.time.watermark_ms
        offsets = pl.DataFrame({POSITION: [r.position for r in mine]}, schema={POSITION: pl.Int64})
        originals = [_original(r) for r in mine]
        arrived = Arrived(at=self.at, first=first, end_offset=end, frame=offsets, batches=originals)
        places, done = Places([arrived], (self.at, first)), Stepped()
        taken = Taken(
            node=AGAIN_NODE, at=self.at, range=OffsetRange(first, end), rows_in=len(told), markers=0, rows=len(told),
            batches=originals, source=self.source, origins={r.position: _origin(r) for r in mine},
        )  # fmt: skip
        done.taken.append(taken)
        counts = program.graph.counts[AGAIN_NODE]
        counts.rows_in += len(told)
        counts.filtered += len(told) - len(mine)
        program.begin_step()
        with program.given_again():
            numbered = list(enumerate(mine))
            for _, group in groupby(numbered, key=lambda one: _way(one[1])):
                self._give(list(group), places, taken, arrived, done)
            program.end_step([arrived], places, now_ms, done)
        return done

    def _give(
        self, records: list[tuple[int, Again]], places: Places, taken: Taken, arrived: Arrived, done: Stepped
    ) -> None:
        """Records that go the same way, with their numbers in the step."""
        first = records[0][1]
        if first.action == "retry":
            self._retry(records, places, taken, arrived, done)
        elif first.steps:
            self._undo(records, places, done)
        else:
            self._resume(records, places, done)

    def _retry(
        self, records: list[tuple[int, Again]], places: Places, taken: Taken, arrived: Arrived, done: Stepped
    ) -> None:
        """Trigger items, each of which begins an execution."""
        program, plan = self._program, self._triggers.get(records[0][1].node)
        if plan is None:
            self._lost(records, f"there is no trigger {records[0][1].node!r} here any more.", places, done)
            return
        seeder = self._seeders[plan.node]
        batches = [_original(r) for _, r in records]
        decoded = program.decoder_of(plan.node).decode(batches, first_offset=0)
        frame = decoded.frame
        if plan.by_clock and TS in frame.columns:
            frame = frame.with_columns(pl.lit(program.clock.now_ms, dtype=pl.Int64).alias(TS))
        frame, failed = seeder.keyed(frame)
        self._unseeded(plan, replace(arrived, frame=frame, failed=failed, bad=decoded.bad), taken, done)
        number = {r.position: n for n, r in records}
        order = pl.Series(ROW, [number[o] for o in frame[POSITION].to_list()], dtype=pl.UInt32)
        marks = (
            None
            if program.time is None
            else pl.repeat(program.clock.watermark_ms, frame.height, dtype=pl.Int64, eager=True)
        )
        (segment,) = seeder.segments(frame, (), order, marks)
        rows = segment.rows
        if POSITION in rows.frame.columns:  # it names a record of the trigger's topic
            rows = rows.with_frame(rows.frame.with_columns(pl.lit(None, dtype=pl.Int64).alias(POSITION)))
        self._count(plan.node, len(rows))
        if len(rows):
            program.absorb(program.graph.step({plan.node: rows}), places, done)

    def _unseeded(self, plan: InputPlan, arrived: Arrived, taken: Taken, done: Stepped) -> None:
        """Records that do not become rows of their trigger."""
        lost = len(arrived.bad) + (0 if arrived.failed is None else len(arrived.failed))
        if not lost:
            return
        counts = self._program.graph.counts[AGAIN_NODE]
        counts.rows_in -= lost
        taken.rows -= lost
        self._program.unseeded(plan, arrived, 0, done)  # a step takes nothing else

    def _resume(self, records: list[tuple[int, Again]], places: Places, done: Stepped) -> None:
        """Items that enter the node in which they failed."""
        first, program = records[0][1], self._program
        node = self._nodes.get(first.node)
        port = "" if node is None else the_port(node)
        if node is None or not port or node.loops:
            why = f"node {first.node!r} is not here any more, has several input ports, or is in a loop."
            self._lost(records, why, places, done)
            return
        try:
            rows = self._entered(records, node, node.inputs[port])
        except CodecError as error:
            self._lost(records, f"node {node.id!r} does not take it any more: {error}", places, done)
            return
        if program.history:
            program.history.watch.again(rows)
        self._count(node.id, len(rows))
        program.absorb(program.graph.enter({(node.id, port): rows}), places, done)

    def _undo(self, records: list[tuple[int, Again]], places: Places, done: Stepped) -> None:
        """Items whose steps are undone enter where compensations begin, as they would from the node's error port."""
        first, program = records[0][1], self._program
        node = next((n for s in self._topology.stages for n in s.nodes if n.id == first.node), None)
        begins = [self._nodes[step] for step in first.steps if step in self._nodes]
        port = "" if node is None else the_port(node)
        if node is None or not port or len(begins) < len(first.steps):
            self._lost(records, f"node {first.node!r} or its compensations are not here any more.", places, done)
            return
        try:
            rows = self._entered(records, begins[-1], node.inputs[port])
        except CodecError as error:
            self._lost(records, f"node {node.id!r} does not take it any more: {error}", places, done)
            return
        told = [r for _, r in records]
        failed = rows.frame.with_columns(
            pl.Series(ERROR_CODE, [r.error_code or "" for r in told], dtype=pl.String),
            pl.Series(ERROR_MESSAGE, [r.error_message or "" for r in told], dtype=pl.String),
            pl.lit(first.node).alias(ERROR_NODE),
        )
        items = error_items(rows.with_frame(failed))
        if program.history:
            program.history.watch.again(items, undone=True)
        for begin in begins:
            self._count(begin.id, len(items), children=begin is not begins[0])
        dead = len(done.dead)
        program.absorb(program.graph.enter({(begin.id, "in"): items for begin in begins}), places, done)
        if first.then is not None and len(done.dead) == dead and done.stop is None:
            at = TopicPartition(self._stage.again, first.then_partition)
            done.writes.setdefault(at, []).extend(encode_again([decode_one(first.then)]))

    def _entered(self, records: list[tuple[int, Again]], node: NodePlan, schema: Schema) -> Batch:
        """The items, with what the stage needs of each row and what may be kept of nodes before `node`."""
        types = kept_types(kept_schemas(self._topology, node))
        rows = enter([r.entered for _, r in records if r.entered is not None], schema, types)
        columns = kept_columns(self._topology, node).items()
        nothing = [pl.lit(None, dtype).alias(c) for c, dtype in columns if c not in rows.frame.columns]
        return self._reserved(rows.with_frame(rows.frame.with_columns(nothing)), records)

    def _reserved(self, rows: Batch, records: list[tuple[int, Again]]) -> Batch:
        columns: list[pl.Expr | pl.Series] = [
            pl.Series(ROW, [n for n, _ in records], dtype=pl.UInt32),
            pl.Series(EXECUTION, [r.execution for _, r in records], dtype=pl.String),
        ]
        have = {*rows.frame.columns, ROW, EXECUTION}
        if TS not in have:
            columns.append(pl.Series(TS, [r.timestamp_ms for _, r in records], dtype=pl.Int64))
            have.add(TS)
        for column in self._stage.needs:
            if column == WM:
                columns.append(pl.lit(self._program.clock.watermark_ms, dtype=pl.Int64).alias(WM))
            elif column == POSITION:
                topic = self._stage.inputs[0].topic if len(self._stage.inputs) == 1 else ""
                lies = [r.offset if topic and r.topic == topic else None for _, r in records]
                columns.append(pl.Series(POSITION, lies, dtype=pl.Int64))
            elif column not in have:
                value = pl.lit(b"") if column == PATH else pl.lit(None, dtype=RESERVED[column])
                columns.append(value.alias(column))
        return rows.with_frame(rows.frame.with_columns(columns))

    def _lost(self, records: list[tuple[int, Again]], why: str, places: Places, done: Stepped) -> None:
        """What cannot be given again is a dead letter as before, and can be resumed with another version."""
        told = [r for _, r in records]
        frame = pl.DataFrame(
            {
                PAYLOAD: [b"null"] * len(told),
                ROW: [n for n, _ in records],
                EXECUTION: [r.execution for r in told],
                ERROR_CODE: [NOT_RESUMABLE] * len(told),
                ERROR_MESSAGE: [f"it could not be given again: {why}"] * len(told),
                ERROR_NODE: [r.node for r in told],
                ENTERED: [r.entered.value if r.entered else None for r in told],
                ENTERED_SCHEMA: [r.entered.schema if r.entered else None for r in told],
            },
            schema_overrides={
                ROW: pl.UInt32, PAYLOAD: pl.Binary, ENTERED: pl.Binary, ENTERED_SCHEMA: pl.String,
                EXECUTION: pl.String,
            },
        )  # fmt: skip
        rows = Batch(frame, ANY)
        if self._program.history:
            self._program.history.watch.again(rows, undone=told[0].action == "compensate")
            self._program.history.watch.failed(AGAIN_NODE, rows, "dead_lettered")
        self._program.graph.counts[AGAIN_NODE].dead_lettered += len(told)
        done.dead.append(places.located(rows))

    def _count(self, node: str, rows: int, *, children: bool = False) -> None:
        """Rows go to a node. `children`: they went to another one as well."""
        counts = self._program.graph.counts[AGAIN_NODE]
        counts.forwarded += 0 if children else rows
        counts.rows_out += rows
        counts.ports[node] = counts.ports.get(node, 0) + rows


def _way(record: Again) -> tuple[object, ...]:
    alone = record.position if record.then is not None else -1  # whether it went well is asked of each by itself
    return record.action, record.node, record.steps, record.entered.schema if record.entered else "", alone


def _original(record: Again) -> RecordBatch:
    """The record that the item came from, at the place where it is given again."""
    headers: Headers = list(record.headers)
    time_ms = record.timestamp_ms
    made = from_records([Record(0, time_ms, record.key, record.value, headers)])
    return RecordBatch(
        base_offset=record.position, last_offset=record.position, count=1, base_timestamp_ms=made.base_timestamp_ms,
        max_timestamp_ms=made.max_timestamp_ms, body=made.body,
    )  # fmt: skip


def _origin(record: Again) -> Origin:
    known = record.action == "retry" or record.value is not None
    return Origin(node=record.node, topic=record.topic, partition=record.partition, offset=record.offset, known=known)
