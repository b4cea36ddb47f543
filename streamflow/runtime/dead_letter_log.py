"""Reads dead letters of a workflow off the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from streamflow.model.positions import TopicPartition
from streamflow.runtime.deadletter import DeadLetter, decode_dead_letters
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology

_READ_BYTES: Final = 4 << 20
REDRIVEN: Final = "streamflow.redrive"  # header: the number of the dead letter that a record was sent again for


async def pages(
    log: Log, topology: Topology, position: int = 0, *, stop: int | None = None
) -> AsyncIterator[list[DeadLetter]]:
    """Dead letters from `position` on, some thousand at a time, as far as there are any now."""
    topic = next((t.name for t in topology.topics if t.kind == "dead_letter"), None)
    if topic is None or topic not in await log.topics():
        return
    at = TopicPartition(topic, 0)
    start, end = await log.offsets(at)
    position, end = max(position, start), end if stop is None else min(end, stop)
    while position < end:
        batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
        if not batches:
            return
        for batch in batches:  # one batch at a time: compressed, a page may be far larger than what was read
            letters = decode_dead_letters([batch], first_offset=position)
            yield [letter for letter in letters if letter.position < end]
        position = batches[-1].last_offset + 1
