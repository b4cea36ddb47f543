"""Reads the partitions of a topic as one stream, in order of time as far as the partitions' own order allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from streamflow.codecs.records import Damaged, Record, scan
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange

if TYPE_CHECKING:
    from streamflow.sdk.log import Log

_READ_BYTES = 1 << 20  # of all partitions together
_READ_BYTES_MIN = 16 << 10


class Entry(NamedTuple):
    """A record and what `show` made of its value."""

    at: TopicPartition
    record: Record | Damaged
    shown: bytes


Show = Callable[[Sequence[bytes | None]], Sequence[bytes]]


class TopicReader:
    """Reads from `positions` on, which move as entries are handed out."""

    def __init__(self, log: Log, positions: Mapping[TopicPartition, int], show: Show) -> None:
        self._log, self._show = log, show
        self.positions = dict(positions)
        self._fetched = dict(self.positions)
        self._held: dict[TopicPartition, deque[Entry]] = {at: deque() for at in positions}
        self._dry: set[TopicPartition] = set()
        self._size_bytes = max(_READ_BYTES // max(len(positions), 1), _READ_BYTES_MIN)

    async def next(self) -> list[Entry]:
        """The next entries, the oldest first; none if nothing is there now."""
        for at, held in self._held.items():
            while not held and at not in self._dry:
                await self._fetch(at)
        heads = [(_order(held[0]), at) for at, held in self._held.items() if held]
        if not heads:
            self._dry.clear()  # ask again next time
            return []
        heapify(heads)
        taken: list[Entry] = []
        while heads:
            at = heads[0][1]
            held = self._held[at]
            taken.append(held.popleft())
            if held:
                heapreplace(heads, (_order(held[0]), at))
            elif at in self._dry:
                heappop(heads)
            else:
                break  # its next record may be older than all that the others hold
        self.positions |= {entry.at: entry.record.offset + 1 for entry in taken}
        return taken

    async def _fetch(self, at: TopicPartition) -> None:
        position = self._fetched[at]
        try:
            batches = await self._log.read(at, position, size_bytes_max=self._size_bytes)
        except OffsetOutOfRange:  # retention was faster than we are
            start, end = await self._log.offsets(at)
            self._fetched[at] = self.positions[at] = min(max(position, start), end)
            return
        if not batches:
            self._dry.add(at)
            return
        for batch in batches:
            found = [r for r in scan(batch) if r.offset >= position]
            shown = self._show([r.value if isinstance(r, Record) else r.raw for r in found])
            self._held[at].extend(Entry(at, r, text) for r, text in zip(found, shown, strict=True))
        self._fetched[at] = batches[-1].last_offset + 1


def _order(entry: Entry) -> tuple[int, int]:
    record = entry.record
    return (record.timestamp_ms if isinstance(record, Record) else 0), entry.at.partition


async def last(log: Log, ranges: Mapping[TopicPartition, tuple[int, int]], count: int) -> dict[TopicPartition, int]:
    """Where to begin to read the last `count` records of a topic; `ranges` are start and end of its partitions."""
    begin = {at: max(start, end - count) for at, (start, end) in ranges.items()}
    reader = TopicReader(log, begin, lambda values: [b""] * len(values))
    kept: deque[tuple[TopicPartition, int]] = deque(maxlen=count)
    while entries := await reader.next():
        kept.extend((e.at, e.record.offset) for e in entries if e.record.offset < ranges[e.at][1])
    positions = {at: end for at, (_, end) in ranges.items()}
    for at, offset in kept:
        positions[at] = min(positions[at], offset)
    return positions
