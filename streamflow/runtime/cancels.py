"""Writes cancels of executions onto a workflow's control topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.codecs import CodecSpec, encoder
from streamflow.model.batch import KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.model.types import frame_schema
from streamflow.operators.control import CANCEL, CONTROL
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log, NewBatch, Producer, TopicSpec
from streamflow.topology.plan import Topology

_CODEC: Final = CodecSpec(format="avro", framing="raw", schema=CONTROL, name=CONTROL.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """A record of `schemas/control.avsc`. `nodes`: only rows at these; None: all."""

    execution: str
    action: str = CANCEL
    nodes: tuple[str, ...] | None = None
    reason: str | None = None
    by: str | None = None


def control_topic(topology: Topology) -> str:
    """The control topic of a workflow; "" where executions leave no records and no branches race."""
    return next((t.name for t in topology.topics if t.kind == "control"), "")


def encode_orders(orders: Sequence[ControlRecord], now_ms: int) -> Sequence[NewBatch]:
    """Records for the control topic, in this order."""
    dtypes = frame_schema(CONTROL)
    told = {name: [getattr(o, name) for o in orders] for name in ("execution", "action", "reason", "by")}
    told["nodes"] = [None if o.nodes is None else list(o.nodes) for o in orders]
    frame = pl.DataFrame({name: pl.Series(values, dtype=dtypes[name]) for name, values in told.items()}).with_columns(
        pl.lit(now_ms, dtype=pl.Int64).cast(dtypes["time"]).alias("time"),
        pl.col("execution").cast(pl.Binary).alias(KEY),
        pl.lit(now_ms, dtype=pl.Int64).alias(TS),
    )
    encoded = encoder(_CODEC).encode(frame)
    if encoded.bad:
        raise UsageError(f"an order cannot be written: {encoded.bad[0].message}")
    return encoded.batches


async def write_cancels(
    log: Log, producer: Producer, topology: Topology, cancels: Sequence[ControlRecord], *, now_ms: int
) -> None:
    """Write cancels in one transaction, in this order; the topic is made if it is not there."""
    topic = control_topic(topology)
    if not topic:
        raise UsageError(f"executions of {topology.workflow!r} leave no records, so none can be cancelled.")
    if topic not in await log.topics():
        await log.create_topic(TopicSpec(name=topic, partitions=1, config=dict(topology.topic(topic).config)))
    batches = encode_orders(cancels, now_ms)
    await producer.begin()
    await producer.append(TopicPartition(topic, 0), batches)
    await producer.commit()
