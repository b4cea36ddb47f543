"""The sparse index of a segment: where, roughly, an offset or a time is found. It can always be made again.

An entry stands for the first record batch after at least 64 KiB: its base offset, its position, and the greatest record
time before it. Each entry has a CRC; an index with a wrong one is thrown away and made again from the segment.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from pathlib import Path

import google_crc32c

_ENTRY = struct.Struct("<qqqI")  # base offset, position, greatest time before, CRC of these
ENTRY_BYTES = _ENTRY.size
INTERVAL_BYTES = 64 << 10
_NO_TIME = -(1 << 63)


class Index:
    """Entries in memory. `add` is told of every record batch and keeps some."""

    def __init__(self) -> None:
        self.bases: list[int] = []
        self.positions: list[int] = []
        self.times: list[int] = []
        self._time = _NO_TIME

    def add(self, base: int, position: int, max_timestamp_ms: int) -> None:
        if not self.positions or position - self.positions[-1] >= INTERVAL_BYTES:
            self.bases.append(base)
            self.positions.append(position)
            self.times.append(self._time)
        self._time = max(self._time, max_timestamp_ms)

    def position_of(self, offset: int) -> int:
        """A position at or before the record batch that holds `offset`."""
        at = bisect_right(self.bases, offset)
        return self.positions[at - 1] if at else 0

    def position_of_time(self, timestamp_ms: int) -> int:
        """A position at or before the first record batch with a time >= `timestamp_ms`."""
        at = bisect_left(self.times, timestamp_ms)
        return self.positions[at - 1] if at else 0

    def cut(self, size_bytes: int, max_timestamp_ms: int) -> None:
        """Forget entries at or behind `size_bytes`; what lies before has times up to `max_timestamp_ms`."""
        keep = bisect_left(self.positions, size_bytes)
        del self.bases[keep:], self.positions[keep:], self.times[keep:]
        self._time = max_timestamp_ms if size_bytes else _NO_TIME

    def encode(self, first: int = 0) -> bytes:
        """The bytes of the entries from number `first` on."""
        out = []
        for entry in zip(self.bases[first:], self.positions[first:], self.times[first:], strict=True):
            packed = _ENTRY.pack(*entry, 0)[:-4]
            out.append(packed + google_crc32c.value(packed).to_bytes(4, "little"))
        return b"".join(out)


def read_index(path: Path) -> Index | None:
    """The index in `path`; None when it is missing or not sound."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    index = Index()
    if not data or len(data) % _ENTRY.size:
        return None
    for at in range(0, len(data), _ENTRY.size):
        base, position, time, crc = _ENTRY.unpack_from(data, at)
        if google_crc32c.value(data[at : at + _ENTRY.size - 4]) != crc:
            return None
        index.bases.append(base)
        index.positions.append(position)
        index.times.append(time)
    return index if index.positions == sorted(index.positions) and index.positions[0] == 0 else None
