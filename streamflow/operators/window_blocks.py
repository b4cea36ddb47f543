"""One open window in memory: the states of its groups as its blocks hold them, and which of them is the last."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

INDEX_BYTES: Final = 128  # of a state, besides its values: a slot of a dict with a short text and a number
_SHIFT: Final = 1 << 63  # moves signed times to unsigned ones: bytewise order is then the order of time


@dataclass(slots=True)
class Window:
    """`states` rows in `frames`, of `groups` groups. `index`: the row of each group's last one; made when needed."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    states: int = 0
    groups: int = 0
    blocks: int = 0
    size_bytes: int = 0
    index: dict[Hashable, int] | None = None

    @property
    def weight(self) -> int:
        """Bytes of memory, about."""
        return self.size_bytes + INDEX_BYTES * self.states

    def whole(self) -> pl.DataFrame:
        return self.frames[0] if len(self.frames) == 1 else pl.concat(self.frames)

    def last(self) -> pl.DataFrame:
        """One state a group."""
        if self.states == self.groups:
            return self.whole()
        assert self.index is not None, "several states of a group are known by the index only"
        return self.whole()[np.fromiter(self.index.values(), np.int64, len(self.index))]

    def add(self, states: pl.DataFrame) -> None:
        """Few frames, each much longer than the next: what is gathered from them costs little, and so does this."""
        self.frames.append(states)
        self.states += states.height
        while len(self.frames) > 1 and self.frames[-2].height <= 2 * self.frames[-1].height:
            self.frames[-2:] = [pl.concat(self.frames[-2:], rechunk=True)]

    def shrink(self) -> pl.DataFrame:
        last = self.last()
        if self.index is not None:
            self.index = dict(zip(self.index, range(last.height), strict=True))
        self.frames, self.states, self.size_bytes = [last], last.height, 0
        return last


def name_of(end: int, block: int) -> bytes:
    """The entry of a block."""
    return (end + _SHIFT).to_bytes(8, "big") + block.to_bytes(4, "big")


def behind(end: int) -> bytes:
    """The least name that lies behind all blocks of windows up to `end`."""
    return (end + 1 + _SHIFT).to_bytes(8, "big")


def by_window(entries: Iterable[tuple[bytes, bytes]]) -> dict[int, list[bytes]]:
    """The blocks of each window, by its end; both in order."""
    blocks: dict[int, list[bytes]] = {}
    for name, value in entries:
        blocks.setdefault(int.from_bytes(name[:8], "big") - _SHIFT, []).append(value)
    return blocks
