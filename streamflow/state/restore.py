"""Bring a store up to its changelog: what a task does after it took over a partition and before it reads any input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import Log, RecordBatch
from streamflow.sdk.state import TransactionalStore
from streamflow.state.changelog import decode_all

READ_BYTES_MAX = 8 << 20

Progress = Callable[[int, int], None]  # (next offset, high watermark)


def _silent(_next: int, _end: int) -> None:
    """No progress is shown."""


async def restore(store: TransactionalStore, log: Log, at: TopicPartition, progress: Progress = _silent) -> int:
    """Apply the changelog from `store.changelog_offset` to the high watermark; returns the high watermark.

    Call it after the producer of this task was initialised: then no transaction that writes to the changelog is open.

    Raises:
        StateError: the changelog does not reach back or forward to where the store is, or holds damaged records.
    """
    start, end = await log.offsets(at)
    position = store.changelog_offset
    if position > end or (0 < position < start):
        raise StateError(
            f"changelog {at} holds offsets {start} to {end}, the store is at {position}.",
            mend="The topic was deleted or cut; delete the local store and start again, or reset the workflow's state.",
        )
    while position < end:
        batches = await log.read(at, max(position, start), size_bytes_max=READ_BYTES_MAX)
        # None left although the end is not reached: the rest is transaction markers, or was compacted away.
        reached = batches[-1].last_offset + 1 if batches else end
        await asyncio.to_thread(_apply, store, batches, position, reached)
        position = reached
        progress(position, end)
    return position


def _apply(store: TransactionalStore, batches: Sequence[RecordBatch], from_offset: int, end: int) -> None:
    store.restore(list(decode_all(batches, from_offset=from_offset)), end)
