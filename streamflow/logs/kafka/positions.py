"""Offsets of partitions: where they begin, how far they are readable, where a time is."""

from __future__ import annotations

from typing import Final

from streamflow.logs.kafka.cluster import Cluster
from streamflow.logs.kafka.wire import OffsetRequest
from streamflow.model.positions import TopicPartition

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1
_LATEST: Final = -1
_EARLIEST: Final = -2


class Offsets:
    """ListOffsets. The end is the last stable offset: what lies behind it nobody may read yet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def start(self, at: TopicPartition) -> int:
        return await self._ask(at, _EARLIEST)

    async def end(self, at: TopicPartition) -> int:
        return await self._ask(at, _LATEST)

    async def written_end(self, at: TopicPartition) -> int:
        """The high watermark: behind the last record, those of open transactions too."""
        return await self._ask(at, _LATEST, READ_UNCOMMITTED)

    async def at_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        # Negative times are Kafka's words for the ends of the log.
        found = await self._ask(at, max(0, timestamp_ms))
        return found if found >= 0 else None

    async def _ask(self, at: TopicPartition, timestamp: int, isolation: int = READ_COMMITTED) -> int:
        what = f"offsets of {at}"
        request = OffsetRequest(-1, isolation, [(at.topic, [(at.partition, timestamp)])])

        async def once() -> int:
            answer = await self._cluster.call_leader(at, request)
            _, code, _, offset = answer.topics[0][1][0]
            self._cluster.check(what, code, at=at)
            return int(offset)

        return await self._cluster.repeat(what, once)
