"""One record of a topic, by its place."""

from __future__ import annotations

from streamflow.codecs.records import Record, records
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange
from streamflow.sdk.log import Log


async def record_at(log: Log, at: TopicPartition, offset: int) -> Record | None:
    """The record at an offset; None where there is none, or none any more."""
    start, end = await log.offsets(at)
    if not start <= offset < end:
        return None
    try:
        batches = await log.read(at, offset, size_bytes_max=1)
    except OffsetOutOfRange:  # it was deleted since
        return None
    return next((r for batch in batches for r in records(batch) if r.offset == offset), None)
