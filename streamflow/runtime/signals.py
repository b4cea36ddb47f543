"""Writes signals for the wait nodes of a workflow onto its topic `<workflow>.signals`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from streamflow.codecs import CodecSpec, encoder
from streamflow.model.batch import KEY, TS
from streamflow.model.positions import TopicPartition
from streamflow.model.types import frame_schema
from streamflow.operators.partition import partition_for
from streamflow.operators.signals import SIGNAL
from streamflow.sdk.errors import TopicExists, UsageError
from streamflow.sdk.log import Log, Producer, TopicSpec
from streamflow.topology.plan import NodePlan, Topology

PART_KIND: Final = "wait.signal"
_CODEC: Final = CodecSpec(format="avro", framing="raw", schema=SIGNAL, name=SIGNAL.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A record of `schemas/signal.avsc`. `payload`: JSON text."""

    name: str
    key: str
    execution: str | None = None
    node: str | None = None
    payload: str | None = None
    token: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Where a signal lies."""

    at: TopicPartition
    offset: int


def waiting_nodes(topology: Topology) -> Mapping[str, NodePlan]:
    """The nodes of a workflow that wait for signals, by id."""
    return {node.id: node for stage in topology.stages for node in stage.nodes if node.kind == PART_KIND}


def read_id(node: str) -> str:
    """The id of the part of a wait node that reads signals."""
    return f"{node}.read"


async def signals_topic(topology: Topology, log: Log) -> str:
    """The topic that signals of a workflow are written to, made if it is not there. Raises UsageError if none waits."""
    topic = next((i.topic for s in topology.stages for i in s.inputs if i.schema == SIGNAL and not i.internal), None)
    if topic is None:
        raise UsageError(f"workflow {topology.workflow!r} has no node that waits for a signal.")
    if topic not in await log.topics():
        plan = next(t for t in topology.topics if t.name == topic)
        with contextlib.suppress(TopicExists):  # somebody else was faster
            await log.create_topic(
                TopicSpec(name=topic, partitions=topology.partitions_default, config=dict(plan.config))
            )
    return topic


async def write_signals(
    log: Log, producer: Producer, topic: str, signals: Sequence[Signal], *, now_ms: int
) -> list[Written]:
    """Write signals in one transaction, each to the partition of its key. Returns where they lie, in their order."""
    dtypes = frame_schema(SIGNAL)
    columns = {name: pl.Series(name, [getattr(s, name) for s in signals], dtype=of) for name, of in dtypes.items()}
    frame = pl.DataFrame(columns).with_columns(
        pl.col("key").cast(pl.Binary).alias(KEY), pl.lit(now_ms, dtype=pl.Int64).alias(TS)
    )
    target = partition_for(frame[KEY], (await log.topics())[topic].partitions, default=0)
    encode = encoder(_CODEC)
    await producer.begin()
    rows: dict[int, list[int]] = {p: np.flatnonzero(target == p).tolist() for p in np.unique(target).tolist()}
    for p in rows:
        encoded = encode.encode(frame.filter(pl.Series(target == p)))
        if encoded.bad:
            raise UsageError(f"a signal cannot be written: {encoded.bad[0].message}")
        await producer.append(TopicPartition(topic, p), encoded.batches)
    ends = await producer.commit()
    written: dict[int, Written] = {}
    for p, places in rows.items():
        at = TopicPartition(topic, p)
        written |= {place: Written(at, ends[at] - len(places) + n) for n, place in enumerate(places)}
    return [written[place] for place in range(len(signals))]
