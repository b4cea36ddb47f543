"""What this log has committed and brokers do not show yet.

A broker answers a commit when its outcome is written down; the markers that make records visible follow a moment
later. Whoever looks at a partition through the log that committed finds its records: it waits for the marker. Another
producer's open transaction may keep them hidden for longer, which is nobody's to wait for: then the marker is there,
and the records come when that transaction ends.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

from streamflow.logs.kafka.cluster import Again, Cluster
from streamflow.logs.kafka.codes import Code
from streamflow.logs.kafka.parse import has_marker
from streamflow.logs.kafka.positions import READ_UNCOMMITTED, Offsets
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.wire import FetchRequest, fetched_parts
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import UnknownTopic

_PATIENCE_S: Final = 10.0
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.001, 0.05
_LOOK_BYTES: Final = 64 << 10


class _Commit(NamedTuple):
    end: int  # behind the last record written
    producer_id: int
    since_s: float


class Settled:
    """Commits of this log whose markers were not seen yet, by partition: the newest of each producer."""

    def __init__(self, cluster: Cluster, offsets: Offsets) -> None:
        self._cluster, self._offsets = cluster, offsets
        self._commits: dict[TopicPartition, dict[int, _Commit]] = {}

    def committed(self, at: TopicPartition, end: int, producer_id: int) -> None:
        """A commit was answered."""
        self._commits.setdefault(at, {})[producer_id] = _Commit(end, producer_id, time.monotonic())

    def completed(self, at: TopicPartition, producer_id: int) -> None:
        """The coordinator let this producer begin again: its markers are written."""
        commits = self._commits.get(at)
        if commits is not None:
            commits.pop(producer_id, None)
            if not commits:
                del self._commits[at]

    def forget(self, topic: str) -> None:
        for at in [at for at in self._commits if at.topic == topic]:
            del self._commits[at]

    def pending(self, at: TopicPartition, end: int) -> bool:
        """Whether a commit ends behind `end`, the end that a broker told."""
        commits = self._commits.get(at)
        if commits is None:
            return False
        for producer_id in [p for p, c in commits.items() if c.end <= end]:
            self.completed(at, producer_id)
        return at in self._commits

    async def wait(self, at: TopicPartition) -> None:
        """Until the markers of what was committed are written, or there is no telling."""
        pause_s = _PAUSE_S_MIN
        for commit in list(self._commits.get(at, {}).values()):
            while time.monotonic() - commit.since_s < _PATIENCE_S:
                if self._commits.get(at, {}).get(commit.producer_id) != commit:
                    break
                try:
                    if await self._offsets.end(at) >= commit.end or await self._marked(at, commit):
                        break
                except UnknownTopic:
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
            if self._commits.get(at, {}).get(commit.producer_id) == commit:
                self.completed(at, commit.producer_id)

    async def wait_for_all(self) -> None:
        await asyncio.gather(*(self.wait(at) for at in list(self._commits)))

    async def _marked(self, at: TopicPartition, commit: _Commit) -> bool:
        """Whether the marker stands in the partition, seen past open transactions of others."""
        request = FetchRequest(
            0, 0, _LOOK_BYTES, READ_UNCOMMITTED, [(at.topic, [(at.partition, commit.end, _LOOK_BYTES)])]
        )
        try:
            answer = await self._cluster.call_leader(at, request)
        except (Again, Unanswered):
            return False
        (part,) = fetched_parts(answer)
        if part.code == Code.NONE:
            return has_marker(part.stored, commit.producer_id)
        return part.code == Code.OFFSET_OUT_OF_RANGE
