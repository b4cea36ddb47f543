"""Bring a store up to its changelog: what a task does after it took over a partition and before it reads any input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import Log, RecordBatch
from streamflow.sdk.state import TransactionalStore
from streamflow.state.changelog import decode_columns

READ_BYTES_MAX = 8 << 20
APPLY_BYTES_MAX = 24 << 20  # decompressed records that are taken in at once

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
        batches, reached = await _read(log, at, max(position, start), end)
        await asyncio.to_thread(take_in, store, batches, position, reached)
        crash_point("restored-part")
        position = reached
        progress(position, end)
    return position


async def _read(log: Log, at: TopicPartition, position: int, end: int) -> tuple[list[RecordBatch], int]:
    """Batches to be applied at once, and the offset behind them."""
    found: list[RecordBatch] = []
    size_bytes = 0
    while position < end and size_bytes < APPLY_BYTES_MAX:
        batches = await log.read(at, position, size_bytes_max=READ_BYTES_MAX)
        # None left although the end is not reached: the rest is transaction markers, or was compacted away.
        position = batches[-1].last_offset + 1 if batches else end
        found += batches
        size_bytes += sum(len(batch.body) for batch in batches)
    return found, position


def take_in(store: TransactionalStore, batches: Sequence[RecordBatch], from_offset: int, end: int) -> None:
    """Bring a store from one offset of its changelog to another by the batches between them. Raises StateError."""
    keys, values = decode_columns(batches, from_offset=from_offset)
    store.restore_columns(keys, values, end)
