"""Turns a step's output rows into record batches for the partitions of the stage's sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from streamflow.codecs import Encoder, encode_marker, encoder
from streamflow.codecs.api import SIZE_BYTES_MAX
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, GONE, KEY, Batch, rows_where
from streamflow.model.positions import TopicPartition
from streamflow.model.types import polars_dtype
from streamflow.operators.partition import partition_for
from streamflow.operators.placement import TO
from streamflow.runtime.context import held_back
from streamflow.runtime.seed import END, WATERMARK
from streamflow.sdk.log import NewBatch, TopicInfo
from streamflow.topology.plan import SinkPlan, StagePlan

Writes = dict[TopicPartition, list[NewBatch]]


@dataclass(slots=True)
class SinkRows:
    """What went to one partition of a sink's topic."""

    rows: int = 0
    markers: int = 0
    dead_lettered: int = 0


@dataclass(slots=True)
class Emitted:
    """Encoded output of a step."""

    writes: Writes = field(default_factory=dict)
    dead: list[Batch] = field(default_factory=list)  # rows that do not fit the topic's schema
    counts: dict[tuple[str, TopicPartition], SinkRows] = field(default_factory=dict)  # by node and partition

    def count(self, node: str, at: TopicPartition) -> SinkRows:
        return self.counts.setdefault((node, at), SinkRows())


class Emitter:
    """Partitions and encodes rows for all sinks of a stage; one per task."""

    def __init__(
        self,
        stage: StagePlan,
        *,
        partition: int,
        input_partitions: int,
        topic_partitions: Mapping[str, int],
        limits: Mapping[str, int] | None = None,
        registry: SchemaRegistry | None,
        behind_ms: Callable[[str], int] = lambda node: 0,
    ) -> None:
        """`limits`: bytes that a record batch of a topic may have, where that is known. `behind_ms`: how far a node's
        rows may lie behind the task's event time (see `Graph.behind_ms`).
        """
        self._behind_ms = behind_ms
        self._partition, self._inputs = partition, input_partitions
        self._partitions, self._limits = topic_partitions, limits or {}
        self._sinks: dict[str, list[tuple[SinkPlan, Encoder]]] = {}
        for sink in stage.sinks:
            self._sinks.setdefault(sink.wire.node, []).append((sink, encoder(sink.codec, registry=registry)))
        self._repartitions = [s for s in stage.sinks if s.kind == "repartition"]
        self._timed = [s for s in self._repartitions if s.watermarks]

    def emit(self, records: Mapping[str, Sequence[Batch]]) -> Emitted:
        """Encode rows by the node whose sink they reach."""
        done = Emitted()
        for node, batches in records.items():
            for sink, encode in self._sinks[node]:
                for batch in batches:
                    self._emit(sink, encode, batch, done)
        return done

    def ends(self, execution: str, timestamp_ms: int, *, tasks: int) -> Emitted:
        """Markers that tell every consumer of a repartition topic that this task is done with an execution, as all
        `tasks` that read it will.
        """
        value = orjson.dumps({"execution": execution, "task": self._partition, "of": tasks})
        return self._everywhere(self._repartitions, encode_marker(END, value, timestamp_ms))

    def watermark(self, watermark_ms: int | None, timestamp_ms: int, *, more: bool) -> Emitted:
        """Markers that tell every consumer that needs it the event time of this task: a time, IDLE or END_OF_TIME.

        None tells nothing. `more`: this task has more to read.
        """
        if watermark_ms is None:
            return Emitted()
        done = Emitted()
        for sink in self._timed:
            told = held_back(watermark_ms, self._behind_ms(sink.wire.node))
            self._everywhere([sink], watermark_marker(self._partition, told, timestamp_ms, more=more), done)
        return done

    def _everywhere(self, sinks: Sequence[SinkPlan], marker: NewBatch, done: Emitted | None = None) -> Emitted:
        done = Emitted() if done is None else done
        for sink in sinks:
            for p in range(self._partitions[sink.topic]):
                at = TopicPartition(sink.topic, p)
                done.writes.setdefault(at, []).append(marker)
                done.count(sink.wire.node, at).markers += 1
        return done

    def _emit(self, sink: SinkPlan, encode: Encoder, batch: Batch, done: Emitted) -> None:
        frame = batch.frame
        for entry in sink.envelope:
            # What an earlier node made is absent where all rows came another way.
            known = entry.column in frame.columns
            value = pl.col(entry.column) if known else pl.lit(None, dtype=polars_dtype(entry.type))
            frame = frame.with_columns(value.alias(entry.field))
        if sink.kind == "repartition":
            frame = frame.drop(GONE, strict=False)  # it is a field there: the record has a value
        total = self._partitions[sink.topic]
        if total == 1:
            self._encode(sink, encode, frame, batch, 0, done)
        elif sink.partition_by == "source" and total == self._inputs:
            # The key is unchanged and the counts agree: the input's partitioning carries over, whatever made it.
            self._encode(sink, encode, frame, batch, self._partition, done)
        elif TO in frame.columns:
            self._split(sink, encode, frame, batch, frame[TO].to_numpy(), done)
        else:
            by_key = frame[KEY] if KEY in frame.columns else pl.Series(KEY, [None] * frame.height, dtype=pl.Binary)
            target = partition_for(by_key, total, default=self._partition % total)
            self._split(sink, encode, frame, batch, target, done)

    def _split(
        self,
        sink: SinkPlan,
        encode: Encoder,
        frame: pl.DataFrame,
        batch: Batch,
        target: npt.NDArray[np.int32],
        done: Emitted,
    ) -> None:
        for p in np.unique(target).tolist():
            self._encode(sink, encode, rows_where(frame, pl.Series(target == p)), batch, p, done)

    def _encode(
        self, sink: SinkPlan, encode: Encoder, frame: pl.DataFrame, batch: Batch, partition: int, done: Emitted
    ) -> None:
        if not frame.height:
            return
        limit = self._limits.get(sink.topic, SIZE_BYTES_MAX)
        encoded = encode.encode(frame, size_bytes_max=min(limit, SIZE_BYTES_MAX), alone_bytes_max=limit)
        at = TopicPartition(sink.topic, partition)
        done.writes.setdefault(at, []).extend(encoded.batches)
        count = done.count(sink.wire.node, at)
        count.rows += frame.height - len(encoded.bad)
        count.dead_lettered += len(encoded.bad)
        if encoded.bad:
            failed = frame[[b.row for b in encoded.bad]].with_columns(
                pl.Series(ERROR_CODE, [b.code for b in encoded.bad], dtype=pl.String),
                pl.Series(ERROR_MESSAGE, [b.message for b in encoded.bad], dtype=pl.String),
                pl.lit(sink.wire.node).alias(ERROR_NODE),
            )
            done.dead.append(Batch(failed, batch.schema))


def batch_bytes_max(topic: TopicInfo, usual: int = SIZE_BYTES_MAX) -> int:
    """What a record batch of a topic may take: as its log says, or what is usual."""
    return int(topic.config.get("max.message.bytes", usual))


def watermark_marker(task: int, watermark_ms: int, timestamp_ms: int, *, more: bool = False) -> NewBatch:
    """`task`: partition of the task that says so; its stage is the one that writes the topic. `more`: see `Marker`."""
    value = orjson.dumps({"task": task, "watermark_ms": watermark_ms, "more": more})
    return encode_marker(WATERMARK, value, timestamp_ms)
