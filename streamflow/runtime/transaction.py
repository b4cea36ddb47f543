"""The commit path: outputs, changelogs, accounting and offsets in one transaction, in this order, with named crash
points.

before-begin → begin → outputs, dead letters → after-outputs → changelogs → after-changelog → ledger, journal
→ offsets → after-offsets → commit (the log: before-frame, torn-frame, after-frame) → before-store → each store
→ after-store
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.emit import Writes
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError
from streamflow.sdk.log import NewBatch, Producer
from streamflow.sdk.state import TransactionalStore
from streamflow.state.changelog import encode_changes


class Transaction:
    """One commit of one task."""

    def __init__(self, producer: Producer, group: str) -> None:
        self._producer, self._group = producer, group

    async def run(
        self,
        *,
        outputs: Sequence[Writes],
        dead_letters: Writes,
        stores: Mapping[TopicPartition, TransactionalStore],
        records: Writes,
        offsets: Mapping[TopicPartition, Committed],
        timestamp_ms: int,
    ) -> Mapping[TopicPartition, int]:
        """All or nothing. Stores hold the changes afterwards; on any error they are untouched and the caller
        rewinds.
        """
        producer = self._producer
        crash_point("before-begin")
        await producer.begin()
        try:
            for writes in (*outputs, dead_letters):
                await self._append(writes)
            crash_point("after-outputs")
            changed: dict[TopicPartition, TransactionalStore] = {}
            for at, store in stores.items():
                changes = store.changes()
                if changes:
                    await producer.append(at, encode_changes(changes, timestamp_ms=timestamp_ms))
                    changed[at] = store
            crash_point("after-changelog")
            await self._append(records)
            await producer.send_offsets(self._group, offsets)
            crash_point("after-offsets")
            ends = await producer.commit()
        except (CommitUnknown, Fenced):
            raise
        except LogError:
            await producer.abort()
            raise
        crash_point("before-store")
        for at, store in changed.items():
            await asyncio.to_thread(store.commit, ends[at])
            crash_point("after-store")
        return ends

    async def _append(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> None:
        for at, batches in writes.items():
            await self._producer.append(at, batches)
