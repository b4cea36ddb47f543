"""Rows that a topic on Kafka does not take are dead-lettered before they are sent, and larger ones go where they may."""

from __future__ import annotations

from streamflow.model.positions import TopicPartition
from streamflow.runtime.deadletter import DeadLetter, decode_dead_letters
from streamflow.sdk.log import Log


async def letters(log: Log, topic: str) -> list[DeadLetter]:
    at = TopicPartition(topic, 0)
    start, end = await log.offsets(at)
    batches = []
    while start < end:
        batches += await log.read(at, start, size_bytes_max=1 << 24)
        start = batches[-1].last_offset + 1
    return decode_dead_letters(batches)
