"""Reads the checkpoints of an execution off the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.codecs import CodecSpec, decoder
from streamflow.model.batch import POSITION
from streamflow.model.checkpoint import CHECKPOINT
from streamflow.model.positions import TopicPartition
from streamflow.operators.entered import Entered
from streamflow.operators.partition import partition_for
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology

_READ_BYTES: Final = 4 << 20
_DECODER: Final = decoder(CodecSpec(format="avro", schema=CHECKPOINT, name=CHECKPOINT.name), reserved=())


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """An item as it was recorded; fields as `model.checkpoint.CHECKPOINT` says."""

    execution: str
    node: str
    stage: str
    task: int
    path: bytes
    timestamp_ms: int
    entered: Entered
    position: int


async def checkpoints_of(log: Log, topology: Topology, execution: str) -> list[CheckpointRecord]:
    """Checkpoints of one execution, in the order in which they were made by each task. Raises CodecError."""
    name = next((t.name for t in topology.topics if t.kind == "checkpoints"), "")
    info = (await log.topics()).get(name)
    if info is None:
        return []
    (partition,) = partition_for(pl.Series([execution.encode()], dtype=pl.Binary), info.partitions).tolist()
    at, found = TopicPartition(name, partition), list[CheckpointRecord]()
    position, end = await log.offsets(at)
    while position < end and (batches := await log.read(at, position, size_bytes_max=_READ_BYTES)):
        for batch in batches:
            decoded = _DECODER.decode([batch], first_offset=position)
            if decoded.bad:
                raise CodecError(f"record {at} offset {decoded.bad[0].offset} is no checkpoint.")
            rows = decoded.frame.filter(pl.col("execution") == execution)
            rows = rows.with_columns(pl.col("timestamp").dt.epoch("ms").cast(pl.Int64))
            found += [
                CheckpointRecord(
                    row["execution"], row["node"], row["stage"], row["task"], row["path"], row["timestamp"],
                    Entered(row["entered"], row["entered_schema"]), row[POSITION],
                )
                for row in rows.iter_rows(named=True)
            ]  # fmt: skip
        position = batches[-1].last_offset + 1
    return found
