"""Open windows of a task: decoded in memory as columns, in its store as blocks.

Entry: `end of the window ‖ number of the block` -> states of some of its groups, back to back; of several states of a
group the last counts. A step adds a block to each window that it changed, with the groups that it changed; several,
where one would be too large for a record of the changelog. Before a window's blocks hold twice as many states as it
has groups, they are written anew with one state a group: whatever the steps, at most two states are written for each
that changed, and at most two are there for each group.

What is in memory is what the store gives, the open transaction included. It is dropped when the store says that entries
changed in another way (see `StateStore.generation`), and window by window, the longest unused first, where it grows
beyond its bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import frame_schema
from streamflow.operators.group_keys import in_order, marks
from streamflow.operators.window_blocks import (
    Gathered,
    Memory,
    Origin,
    Window,
    behind,
    by_window,
    compact,
    name_of,
)
from streamflow.operators.window_rows import Folds
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
SIZE_BYTES_MAX: Final = 128 << 20
BLOCK_BYTES_MAX: Final = 400_000  # unless one state alone takes more; a changelog record holds 1 MiB
_VOID: Final = -1


@dataclass(slots=True)
class Found:
    """`states` that groups of a step have, and `which` of its groups those are."""

    states: pl.DataFrame
    which: Int64s


@dataclass(slots=True)
class _Touched:
    """A window in a step, with its groups `first` to `stop` (exclusive) of the step's, ordered by window."""

    end: int
    window: Window
    first: int
    stop: int
    marks: Sequence[Hashable] = ()  # of the groups, where the window has an index


class OpenWindows:
    """The states of all groups of open windows. `find` what a step's groups have, then `keep` what they have now."""

    def __init__(self, folds: Folds, *, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self._folds, self._codec, self._size_max = folds, folds.codec(), size_bytes_max
        self._schema = pl.Schema(frame_schema(folds.state_schema))
        self._keys = [f"k{i}" for i in range(len(folds.keys.columns))]
        self._windows: OrderedDict[int, Window] = OrderedDict()  # the longest unused first
        self._store: StateStore | None = None
        self._generation = _VOID
        self._memory = Memory()
        self._touched: list[_Touched] = []
        self._order: Int64s | None = None

    @property
    def size_bytes(self) -> int:
        """What memory holds, about."""
        return self._memory.size_bytes

    def find(self, store: StateStore, ends: Int64s, groups: pl.DataFrame) -> Found | None:
        """The states of `groups`, each in the window that ends at its number of `ends`. None: all of them are new."""
        self._follow(store)
        self._generation = _VOID  # until `keep`: if what comes between fails, nothing in memory holds
        self._order = None if (ends[1:] >= ends[:-1]).all() else np.argsort(ends, kind="stable")
        if self._order is not None:
            ends, groups = ends[self._order], groups[self._order]
        cuts = [0, *(np.flatnonzero(ends[1:] != ends[:-1]) + 1).tolist(), len(ends)]
        touched = self._load(store, [int(ends[first]) for first in cuts[:-1]])
        self._touched = [_Touched(end, window, *at) for (end, window), at in zip(touched, pairwise(cuts), strict=True)]
        known, which = Gathered(), list[Int64s]()
        for one in self._touched:
            if not one.window.states:
                one.window.groups = one.stop - one.first
                continue
            index = self._indexed(one.window)
            one.marks = marks(self._folds.keys, groups[one.first : one.stop].get_columns())
            rows = np.fromiter(map(index.get, one.marks, repeat(-1)), np.int64, one.stop - one.first)
            there = np.flatnonzero(rows >= 0)
            one.window.groups += len(rows) - len(there)
            if len(there):
                known.add(one.window.frames, rows[there])
                which.append(there + one.first)
        if not which:
            return None
        at = np.concatenate(which)
        return Found(known.rows(), at if self._order is None else self._order[at])

    def keep(self, store: StateStore, now: pl.DataFrame) -> None:
        """`now` are the states of the groups that were asked for last, in their order."""
        if self._order is not None:
            now = now[self._order]
        if now.schema != self._schema:
            now = now.cast(self._schema)
        now = compact(now)
        origin = Origin(now, self._memory)
        written: list[pl.DataFrame] = []
        shrunk = False
        for one in self._touched:
            window, states = one.window, now[one.first : one.stop]
            if window.index is not None:
                window.index.update(zip(one.marks, range(window.states, window.states + states.height), strict=True))
            window.add(states, origin)
            if window.blocks and window.states >= 2 * window.groups:
                states, shrunk = window.shrink(), True
                store.delete_many([name_of(one.end, block) for block in range(1, window.blocks)])
                window.blocks = 0
            written.append(states)
        now = pl.concat(written) if shrunk else now
        blocks = self._codec.encode_blocks(now, [states.height for states in written])
        names: list[bytes] = []
        values: list[bytes] = []
        for one, states, block in zip(self._touched, written, blocks, strict=True):
            for value in self._cut(states, block):
                names.append(name_of(one.end, one.window.blocks))
                values.append(value)
                one.window.blocks += 1
        store.put_many(names, values)
        origin.release()
        self._forget()
        self._generation = store.generation

    def _cut(self, states: pl.DataFrame, block: bytes) -> Iterator[bytes]:
        """`block`, which holds `states`, as blocks that fit a record."""
        if len(block) <= BLOCK_BYTES_MAX or states.height == 1:
            yield block
            return
        parts = list(states.iter_slices(-(-states.height // -(-len(block) // BLOCK_BYTES_MAX))))
        for part, less in zip(parts, self._codec.encode_blocks(states, [p.height for p in parts]), strict=True):
            yield from self._cut(part, less)

    def close(self, store: StateStore, end_max: int) -> tuple[Int64s, pl.DataFrame] | None:
        """Take out all windows that end at `end_max` or earlier: (end, state) of each group, in the order in which
        windows end and their groups are named.
        """
        self._follow(store)
        entries = self._take(store, end_max)
        if not entries:
            return None
        closed = by_window(entries).items()
        return self._ordered({end: self._drop(end) or self._decoded(blocks, Memory()) for end, blocks in closed})

    def drop(self, store: StateStore, end_max: int) -> None:
        """`close` for windows that nobody looks at."""
        self._follow(store)
        for end in by_window(self._take(store, end_max)):
            self._drop(end)

    def read(self, entries: Iterable[tuple[bytes, bytes]]) -> tuple[Int64s, pl.DataFrame]:
        """(end, state) of each group that entries of a store hold, which are in order. Needs no `find`."""
        return self._ordered({end: self._decoded(values, Memory()) for end, values in by_window(entries).items()})

    def _take(self, store: StateStore, end_max: int) -> list[tuple[bytes, bytes]]:
        entries = list(store.scan(b"", behind(end_max)))
        store.delete_many([name for name, _ in entries])
        return entries

    def _ordered(self, windows: Mapping[int, Window]) -> tuple[Int64s, pl.DataFrame]:
        if not windows:
            return np.empty(0, np.int64), pl.DataFrame(schema=self._schema)
        states = [window.last() for window in windows.values()]
        ends, whole = np.repeat(np.fromiter(windows, np.int64), [one.height for one in states]), pl.concat(states)
        order = in_order(self._folds.keys, ends, [whole[c] for c in self._keys])
        return ends[order], whole[order]

    def _follow(self, store: StateStore) -> None:
        if store is not self._store or store.generation != self._generation:
            self._windows.clear()
            self._memory = Memory()
            self._store, self._generation = store, store.generation

    def _load(self, store: StateStore, ends: Sequence[int]) -> list[tuple[int, Window]]:
        """Those windows, in memory; new ones without states."""
        missing = [end for end in ends if end not in self._windows]
        firsts = store.get_many([name_of(end, 0) for end in missing])
        for end, more in zip(missing, firsts, strict=True):
            blocks: list[bytes] = []
            while more is not None:
                blocks.append(more)
                more = store.get(name_of(end, len(blocks)))
            self._windows[end] = self._decoded(blocks, self._memory) if blocks else Window(self._memory)
        for end in ends:
            self._windows.move_to_end(end)
        return [(end, self._windows[end]) for end in ends]

    def _decoded(self, blocks: Sequence[bytes], memory: Memory) -> Window:
        states, counts = self._codec.decode_blocks(blocks)
        states = states.cast(self._schema)
        window, origin = Window(memory, groups=states.height, blocks=len(blocks)), Origin(states, memory)
        window.add(states, origin)
        origin.release()
        if len(counts) > 1:
            window.groups = len(self._indexed(window))
        return window

    def _indexed(self, window: Window) -> dict[Hashable, int]:
        if window.index is None:
            whole = window.whole()
            known = marks(self._folds.keys, [whole[c] for c in self._keys])
            window.index = dict(zip(known, range(len(known)), strict=True))
        return window.index

    def _forget(self) -> None:
        """Windows beyond the bound; never those of this step."""
        while self._memory.size_bytes > self._size_max and len(self._windows) > len(self._touched):
            self._drop(next(iter(self._windows)))

    def _drop(self, end: int) -> Window | None:
        window = self._windows.pop(end, None)
        if window is not None:
            window.drop()
        return window
