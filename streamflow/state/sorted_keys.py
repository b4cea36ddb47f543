"""Keys in bytewise order that can be changed: blocks of a sorted list.

A plain sorted list moves O(n) pointers for each insertion, which hurts at a million keys, and the standard library has
no tree. Blocks of at most `BLOCK_MAX` keys keep insertion and removal near O(log n + BLOCK_MAX) and scans sequential.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

BLOCK_MAX = 1024


class SortedKeys:
    """A sorted set of bytes."""

    __slots__ = ("_blocks", "_count", "_lasts")

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self.replace(keys)

    def __len__(self) -> int:
        return self._count

    def replace(self, keys: Iterable[bytes]) -> None:
        """Hold exactly the distinct `keys`."""
        ordered = sorted(keys)
        half = BLOCK_MAX // 2  # room to grow before the first split
        self._blocks = [ordered[i : i + half] for i in range(0, len(ordered), half)]
        self._lasts = [block[-1] for block in self._blocks]
        self._count = len(ordered)

    def add(self, key: bytes) -> None:
        """Insert `key`; harmless if it is there."""
        if not self._blocks:
            self.replace((key,))
            return
        at = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[at]
        where = bisect_left(block, key)
        if where < len(block) and block[where] == key:
            return
        insort(block, key)
        self._count += 1
        if len(block) > BLOCK_MAX:
            half = len(block) // 2
            self._blocks.insert(at + 1, block[half:])
            del block[half:]
            self._lasts.insert(at, block[-1])
        self._lasts[at] = block[-1]
        if at + 1 < len(self._blocks):
            self._lasts[at + 1] = self._blocks[at + 1][-1]

    def discard(self, key: bytes) -> None:
        """Remove `key`; harmless if it is not there."""
        at = bisect_left(self._lasts, key)
        if at == len(self._blocks):
            return
        block = self._blocks[at]
        where = bisect_left(block, key)
        if block[where] != key:
            return
        del block[where]
        self._count -= 1
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def runs(self, first: bytes) -> Iterator[list[bytes]]:
        """Keys >= `first` as sorted, non-empty lists, in order. Do not change the set while it is iterated."""
        at = bisect_left(self._lasts, first)
        if at == len(self._blocks):
            return
        yield self._blocks[at][bisect_left(self._blocks[at], first) :]
        yield from self._blocks[at + 1 :]
