"""An open window in memory: the states of its groups as its blocks hold them, and which of them are the last."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

FRAMES_MAX: Final = 8
_LARGE: Final = 16  # times as many rows as are wanted of it
INDEX_BYTES: Final = 128  # of a state, besides its values: a slot of a dict with a short text and a number
_SHIFT: Final = 1 << 63  # moves signed times to unsigned ones: bytewise order is then the order of time


@dataclass(slots=True)
class Memory:
    """How many bytes the windows of a task take, about."""

    size_bytes: int = 0


class Origin:
    """A frame that frames of several windows are cut from. Its memory is free when the last of them is gone."""

    __slots__ = ("_cuts", "_memory", "_size_bytes")

    def __init__(self, frame: pl.DataFrame, memory: Memory) -> None:
        """Counts as one cut: `release` it when all are made."""
        self._cuts, self._memory, self._size_bytes = 1, memory, int(frame.estimated_size())
        memory.size_bytes += self._size_bytes

    def cut(self) -> None:
        self._cuts += 1

    def release(self) -> None:
        self._cuts -= 1
        if not self._cuts:
            self._memory.size_bytes -= self._size_bytes


@dataclass(slots=True)
class Window:
    """`states` rows in `frames`, of `groups` groups, kept as `blocks` entries. `index`: the row of each group's last
    state; made when needed.
    """

    memory: Memory
    frames: list[pl.DataFrame] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)  # of each frame
    states: int = 0
    groups: int = 0
    blocks: int = 0
    index: dict[Hashable, int] | None = None

    def whole(self) -> pl.DataFrame:
        return self.frames[0] if len(self.frames) == 1 else pl.concat(self.frames)

    def last(self) -> pl.DataFrame:
        """One state a group."""
        if self.states == self.groups:
            return self.whole()
        assert self.index is not None, "several states of a group are known by the index only"
        return self.whole()[np.fromiter(self.index.values(), np.int64, len(self.index))]

    def add(self, states: pl.DataFrame, origin: Origin) -> None:
        """At most FRAMES_MAX frames; where there would be more, those at the end that are not much longer than what
        follows them become one: each state is copied few times.
        """
        origin.cut()
        self.frames.append(states)
        self.origins.append(origin)
        self.states += states.height
        self.memory.size_bytes += INDEX_BYTES * states.height
        if len(self.frames) > FRAMES_MAX:
            first, rows = len(self.frames) - 2, states.height + self.frames[-2].height
            while first and self.frames[first - 1].height <= 2 * rows:
                first -= 1
                rows += self.frames[first].height
            self._replace(first, pl.concat(self.frames[first:], rechunk=True))

    def shrink(self) -> pl.DataFrame:
        """Keep one state a group."""
        last = self.last()
        if self.index is not None:
            self.index = dict(zip(self.index, range(last.height), strict=True))
        self.memory.size_bytes -= INDEX_BYTES * (self.states - last.height)
        self.states = last.height
        self._replace(0, last)
        return last

    def drop(self) -> None:
        """It is in memory no more."""
        for origin in self.origins:
            origin.release()
        self.memory.size_bytes -= INDEX_BYTES * self.states

    def _replace(self, first: int, frame: pl.DataFrame) -> None:
        """Put `frame` in the place of those from `first` on."""
        frame = compact(frame)
        for origin in self.origins[first:]:
            origin.release()
        self.frames[first:], self.origins[first:] = [frame], [Origin(frame, self.memory)]


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with texts of their own: those of gathered rows hold on to all the texts they were taken from."""
    texts = [
        pl.col(name) + (pl.lit("") if dtype == pl.String else pl.lit(b""))
        for name, dtype in frame.schema.items()
        if dtype in (pl.String, pl.Binary)
    ]
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if texts:
        frame = frame.with_columns(texts)
    if nested:
        buffer = io.BytesIO()
        frame.select(nested).write_ipc(buffer, compat_level=pl.CompatLevel.oldest())
        buffer.seek(0)
        frame = frame.with_columns(pl.read_ipc(buffer).get_columns())
    return frame


class Gathered:
    """Rows of many windows' frames. A call into polars costs as much as many rows, so small windows go together; rows
    of a large one are taken from where they are, as putting frames together may copy them.
    """

    def __init__(self) -> None:
        self._done: list[pl.DataFrame] = []
        self._frames: list[pl.DataFrame] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._height = 0

    def add(self, frames: Sequence[pl.DataFrame], rows: npt.NDArray[np.int64]) -> None:
        """The next ones are `rows` of these frames, one behind another."""
        height = sum(frame.height for frame in frames)
        if height > _LARGE * len(rows):
            self._flush()
            self._done.append(pl.concat(frames)[rows] if len(frames) > 1 else frames[0][rows])
            return
        self._frames.extend(frames)
        self._rows.append(rows + self._height)
        self._height += height

    def rows(self) -> pl.DataFrame:
        self._flush()
        return self._done[0] if len(self._done) == 1 else pl.concat(self._done)

    def _flush(self) -> None:
        if self._rows:
            self._done.append(pl.concat(self._frames, rechunk=True)[np.concatenate(self._rows)])
            self._frames, self._rows, self._height = [], [], 0


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
