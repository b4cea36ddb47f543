"""What a commit writes besides outputs and state: its ledger and journal records, and the dead letters of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from streamflow.codecs import BadRecord
from streamflow.codecs.json_write import json_texts
from streamflow.codecs.records import Damaged, Headers, Record, from_records, scan
from streamflow.model.batch import (
    ERROR_ATTEMPT,
    ERROR_CODE,
    ERROR_MESSAGE,
    ERROR_NODE,
    EXECUTION,
    KEY,
    POSITION,
    TS,
    Batch,
)
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.model.types import walk
from streamflow.runtime.deadletter import RECORD_BYTES_MAX, DeadLetter, encode_dead_letters
from streamflow.runtime.emit import Emitted, SinkRows, Writes
from streamflow.runtime.graph import NodeCounts
from streamflow.runtime.journal import JournalRecord
from streamflow.runtime.ledger import LedgerRecord, SinkCounts, SourceCounts
from streamflow.runtime.ledger import NodeCounts as LedgerNode
from streamflow.runtime.recoverable import recoverable
from streamflow.runtime.stepped import FailedRows, Origin, Stepped, Taken
from streamflow.sdk.log import NewBatch, RecordBatch
from streamflow.topology.plan import StagePlan, Topology


@dataclass(slots=True)
class DeadWrites:
    """Dead letters ready to be appended."""

    writes: Writes = field(default_factory=dict)
    count: int = 0

    def add(self, other: DeadWrites) -> None:
        for at, batches in other.writes.items():
            self.writes.setdefault(at, []).extend(batches)
        self.count += other.count


def dead_letters(
    topology: Topology,
    stage: StagePlan,
    partition: int,
    done: Sequence[Stepped],
    size_bytes_max: int,
) -> DeadWrites:
    """Dead letters of a commit's steps, with the records that the rows came from byte for byte.

    `partition`: of the task. `size_bytes_max`: of a record batch of their topic.
    """
    letters: list[DeadLetter] = []
    for step in done:
        undecodable = [_undecodable(topology, stage, taken, bad) for taken in step.taken for bad in taken.bad]
        letters += [replace(letter, task=partition) for letter in undecodable] if stage.again else undecodable
        for failed in step.dead:
            made = _failed(topology, stage, partition, failed, step.taken)
            letters += recoverable(topology, stage, partition, failed.rows, made) if stage.again else made
    return _encoded(letters, size_bytes_max, stage.dead_letter)


def handled_errors(
    topology: Topology, stage: StagePlan, partition: int, done: Sequence[Stepped], size_bytes_max: int
) -> Writes:
    """The same of items that a policy handles, for the topic of errors."""
    letters: list[DeadLetter] = []
    for step in done:
        letters += [_undecodable(topology, stage, taken, bad) for taken in step.taken for bad in taken.passed]
        for failed in step.told:
            letters += _failed(topology, stage, partition, failed, step.taken)
    return _encoded(letters, size_bytes_max, stage.errors).writes


def stop_letter(
    topology: Topology, stage: StagePlan, error: tuple[str, str, str], at: TopicPartition, offset: int, source: str,
    record: Record | None, now_ms: int,
) -> DeadLetter:  # fmt: skip
    """What the error workflow hears where a task halts. `source`: of executions that begin there; "" where none do."""
    node, code, message = error
    return DeadLetter(
        workflow=topology.workflow, stage=stage.id, node=node, code="workflow_stopped", message=f"{code}: {message}",
        timestamp_ms=now_ms if record is None else record.timestamp_ms,
        execution=f"{source}:{offset}" if source else None,
        topic=at.topic, partition=at.partition, offset=offset,
        key=None if record is None else record.key, value=None if record is None else record.value,
        headers=() if record is None else tuple(record.headers),
    )  # fmt: skip


def encode_source_failures(
    topology: Topology,
    stage: StagePlan,
    bad: Sequence[tuple[bytes, str, str]],
    now_ms: int,
    *,
    handled: bool = False,
) -> DeadWrites:
    """Dead letters of a trigger that is no topic: raw bytes that did not decode. `handled`: for the topic of errors."""
    node = stage.inputs[0].node
    letters = [
        DeadLetter(
            workflow=topology.workflow, stage=stage.id, node=node, code=code, message=message, timestamp_ms=now_ms,
            value=raw,
        )
        for raw, code, message in bad
    ]  # fmt: skip
    return _encoded(letters, RECORD_BYTES_MAX, stage.errors if handled else stage.dead_letter)


def _encoded(letters: Sequence[DeadLetter], size_bytes_max: int, topic: str) -> DeadWrites:
    if not letters:
        return DeadWrites()
    at = TopicPartition(topic, 0)
    return DeadWrites({at: encode_dead_letters(letters, size_bytes_max=size_bytes_max)}, len(letters))


def _undecodable(topology: Topology, stage: StagePlan, taken: Taken, bad: BadRecord) -> DeadLetter:
    origin = _origin(taken, bad.offset)
    return DeadLetter(
        workflow=topology.workflow,
        stage=stage.id,
        node=origin.node,
        code=bad.code,
        message=bad.message,
        execution=f"{taken.source}:{bad.offset}" if taken.source else None,
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        timestamp_ms=bad.timestamp_ms,
        key=bad.key,
        value=bad.value,
        headers=tuple(bad.headers),
    )


def _origin(taken: Taken, offset: int) -> Origin:
    """Where the record at an offset comes from."""
    read = Origin(node=taken.node, topic=taken.at.topic, partition=taken.at.partition, offset=offset, known=True)
    return taken.origins.get(offset, read)


def _failed(
    topology: Topology,
    stage: StagePlan,
    partition: int,
    failed: FailedRows,
    taken: Sequence[Taken],
) -> list[DeadLetter]:
    frame, n = failed.rows.frame, len(failed.rows)
    offsets, inputs = failed.offsets.to_list(), failed.inputs.tolist()
    places = list(zip(inputs, offsets, strict=True))
    originals = {
        number: _originals(one.batches, {o for i, o in places if i == number and o is not None})
        for number, one in enumerate(taken)
    }
    nulls = [None] * n
    origins = [None if offset is None or not taken else _origin(taken[i], offset) for i, offset in places]
    if EXECUTION in frame.columns:
        executions = frame[EXECUTION].to_list()
    else:
        sources = [
            taken[i].source if origin is not None else "" for (i, _), origin in zip(places, origins, strict=True)
        ]
        executions = [f"{source}:{o}" if source else None for source, (_, o) in zip(sources, places, strict=True)]
    keys = frame[KEY].to_list() if KEY in frame.columns else nulls
    times = frame[TS].to_list() if TS in frame.columns else nulls
    known = pl.Series([origin is not None and origin.known for origin in origins], dtype=pl.Boolean)
    items = _items(failed.rows, failed.offsets.zip_with(known, pl.Series([None], dtype=pl.Int64)))
    lie = _lying(stage, frame)
    letters = []
    attempts = frame[ERROR_ATTEMPT].fill_null(1).to_list() if ERROR_ATTEMPT in frame.columns else [1] * n
    rows = zip(frame.select(ERROR_NODE, ERROR_CODE, ERROR_MESSAGE).iter_rows(), offsets, inputs, strict=True)
    for i, ((node, code, message), offset, number) in enumerate(rows):
        origin = origins[i]
        record = originals.get(number, {}).get(offset) if origin is None or origin.known else None
        letters.append(
            DeadLetter(
                workflow=topology.workflow,
                stage=stage.id,
                node=node,
                code=code,
                message=message,
                execution=executions[i],
                topic=origin.topic if origin is not None else stage.inputs[0].topic if i in lie else "",
                partition=origin.partition if origin is not None else partition if i in lie else -1,
                offset=origin.offset if origin is not None else lie.get(i, -1),
                attempt=attempts[i],
                timestamp_ms=record.timestamp_ms if record is not None else (times[i] or 0),
                key=record.key if record is not None else keys[i],
                value=record.value if record is not None else None,
                headers=tuple(record.headers) if record is not None else (),
                item=items[i],
            )
        )
    return letters


def _lying(stage: StagePlan, frame: pl.DataFrame) -> dict[int, int]:
    """Rows that came out of state and say where their record lies: number -> offset.

    None in a stage with several inputs: nobody says which it was.
    """
    if POSITION not in frame.columns or len(stage.inputs) != 1:
        return {}
    return {i: offset for i, offset in enumerate(frame[POSITION].to_list()) if offset is not None}


def _items(rows: Batch, offsets: pl.Series) -> list[str | None]:
    """The failing items as JSON, for rows that no single record stands for."""
    if offsets.null_count() == 0:
        return [None] * len(rows)
    payload = rows.payload()
    if rows.schema.kind != "record":
        return [None if v is None else v.decode(errors="backslashreplace") for v in payload.to_series().to_list()]
    if any(t.kind in ("any", "bytes", "fixed") for t in walk(rows.schema)):  # polars writes no JSON of bytes
        return [text.decode() for text in json_texts(payload, rows.schema).to_list()]
    return payload.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list()


def _originals(batches: Sequence[RecordBatch], offsets: set[int]) -> dict[int, Record]:
    """The records at these offsets; only batches that hold one are taken apart."""
    found: dict[int, Record] = {}
    for batch in batches:
        if not any(batch.base_offset <= o <= batch.last_offset for o in offsets):
            continue
        for record in scan(batch):
            if not isinstance(record, Damaged) and record.offset in offsets:
                found[record.offset] = record
    return found


def commit_records(
    stage: StagePlan,
    journal: JournalRecord,
    done: Sequence[Stepped],
    counts: Mapping[str, NodeCounts],
    told: Sequence[Emitted],
    dead: DeadWrites,
) -> Writes:
    """The ledger and journal record of a commit. `told`: its markers of event time."""
    partition, steps = journal.partition, journal.steps
    now_ms = steps[-1].now_ms if steps else 0
    ledger = LedgerRecord(
        stage=stage.id,
        partition=partition,
        sources=_sources(done),
        nodes=tuple(_node(n, c) for n, c in counts.items() if c.rows_in or c.emitted or c.failed_from_state),
        sinks=_sinks([*(made.sinks for made in done), *(emitted.counts for emitted in told)]),
        dead_letters=dead.count,
    )
    return {
        TopicPartition(stage.ledger, partition): [_one(ledger.encode(), now_ms)],
        TopicPartition(stage.journal, partition): [_one(journal.encode(), now_ms)],
    }


def source_records(
    stage: StagePlan, at: TopicPartition, first: int, rows: int, markers: int, dead: int, continued: int, now_ms: int
) -> Writes:
    """The ledger record of a source task: what it read and wrote. Its journal is the position it commits."""
    node = stage.inputs[0].node
    total = rows + dead + continued
    ledger = LedgerRecord(
        stage=stage.id,
        partition=0,
        sources=(
            SourceCounts(
                node=node, at=at, range=OffsetRange(first, first + total), records=total, rows=rows,
                dead_lettered=dead, continued=continued,
            ),
        ),
        sinks=(SinkCounts(node=node, at=at, rows=rows, markers=markers),),
        dead_letters=dead,
    )  # fmt: skip
    return {TopicPartition(stage.ledger, 0): [_one(ledger.encode(), now_ms)]}


def _one(value: bytes, timestamp_ms: int) -> NewBatch:
    headers: Headers = []
    return from_records([Record(offset=0, timestamp_ms=timestamp_ms, key=None, value=value, headers=headers)])


def _sources(done: Sequence[Stepped]) -> tuple[SourceCounts, ...]:
    """What steps took of one input after each other becomes one range."""
    merged: dict[TopicPartition, SourceCounts] = {}
    for made in (taken for step in done for taken in step.taken):
        before = merged.get(made.at)
        counts = (made.rows_in + made.markers, made.rows, made.markers, made.dead, made.continued)
        if before is not None:
            old = (before.records, before.rows, before.markers, before.dead_lettered, before.continued)
            counts = tuple(a + b for a, b in zip(old, counts, strict=True))  # type: ignore[assignment]
        records, rows, markers, dead, continued = counts
        merged[made.at] = SourceCounts(
            node=made.node,
            at=made.at,
            range=OffsetRange(before.range.first if before else made.range.first, made.range.end),
            records=records,
            rows=rows,
            markers=markers,
            dead_lettered=dead,
            continued=continued,
        )
    return tuple(merged.values())


def _sinks(written: Iterable[Mapping[tuple[str, TopicPartition], SinkRows]]) -> tuple[SinkCounts, ...]:
    totals: dict[tuple[str, TopicPartition], SinkRows] = {}
    for counts in written:
        for place, count in counts.items():
            total = totals.setdefault(place, SinkRows())
            total.rows += count.rows
            total.markers += count.markers
            total.dead_lettered += count.dead_lettered
    return tuple(
        SinkCounts(node=node, at=at, rows=c.rows, markers=c.markers, dead_lettered=c.dead_lettered)
        for (node, at), c in totals.items()
    )


def _node(node: str, c: NodeCounts) -> LedgerNode:
    return LedgerNode(
        node=node,
        rows_in=c.rows_in,
        forwarded=c.forwarded,
        filtered=c.filtered,
        absorbed=c.absorbed,
        dead_lettered=c.dead_lettered,
        to_error_port=c.to_error_port,
        continued=c.continued,
        cancelled=c.cancelled,
        timed_out=c.timed_out,
        rows_out=c.rows_out,
        emitted=c.emitted,
        failed_from_state=c.failed_from_state,
        ports=c.ports,
    )
