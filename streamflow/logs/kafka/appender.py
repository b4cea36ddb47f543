"""Record batches to Kafka outside of transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from streamflow.logs.kafka.cluster import Cluster
from streamflow.logs.kafka.producer import INLINE_BYTES_MAX, stored
from streamflow.logs.kafka.sending import Outgoing, send
from streamflow.logs.kafka.session import Session
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import Compression, NewBatch


class KafkaAppender:
    """The Appender of the Kafka log (contract: `sdk.log.Appender`).

    Batches have no producer id: one that is sent again, since its answer was lost, may be there twice. All replicas
    have it before `append` returns.
    """

    def __init__(self, cluster: Cluster, session: Session, *, compression: Compression) -> None:
        self._cluster, self._session = cluster, session
        self._compression: Compression = compression

    async def append(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> None:
        for at in writes:
            await self._cluster.repeat(f"find {at}", partial(self._cluster.leader_of, at))  # raises UnknownTopic
        size = sum(len(batch.body) for batches in writes.values() for batch in batches)
        queues = self._encoded(writes) if size <= INLINE_BYTES_MAX else await asyncio.to_thread(self._encoded, writes)
        await send(self._cluster, self._session, queues, lambda *_: None)

    async def close(self) -> None:
        """Nothing is open between calls."""

    def _encoded(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> dict[TopicPartition, list[Outgoing]]:
        return {
            at: [Outgoing(stored(b, self._compression), b.count, -1) for b in batches] for at, batches in writes.items()
        }
