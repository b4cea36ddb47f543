"""What a join remembers: blocks of rows in its store, and the same rows decoded and indexed in memory.

| entry of the store                               | what |
|---|---|
| `b`, side, watermark when it goes, number of the block | rows that one step brought to a side: Arrow IPC, compressed |
| `d`, and the block's name behind its first byte  | a bit for each row of the block that is done; only where some are |
| `#`                                              | rows arrived, rows given, blocks made |

Memory never runs ahead of the store: it is void when the store says that entries changed in another way than by what is
done here (see `StateStore.generation`), and when a call did not come to its end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from streamflow.operators.execution_rows import PART_BYTES_MAX, decode, encode_parts
from streamflow.operators.join_index import Int64s, Run, joined
from streamflow.operators.join_times import NEVER, SIDES, JoinTimes, Side
from streamflow.sdk.state import StateStore

_HEAD: Final = b"#"
_COUNTS: Final = struct.Struct(">QQQ")
_SIDE: Final[dict[Side, bytes]] = {"left": b"l", "right": b"r"}
_SHIFT: Final = 1 << 63
_VOID: Final = -1


@dataclass(slots=True)
class JoinState:
    """Rows that are held, by side. Use: `open`, then read and change, then `close`."""

    times: JoinTimes
    runs: dict[Side, list[Run]] = field(default_factory=lambda: {"left": [], "right": []})
    arrived: int = 0
    given: int = 0
    _blocks: int = 0
    _store: StateStore | None = None
    _generation: int = _VOID
    _changed: bool = False

    def open(self, store: StateStore) -> None:
        if self._store is not store or self._generation != store.generation:
            self._read(store, store.get(_HEAD))
        self._store, self._generation = store, _VOID  # until `close`: an exception on the way must not leave it
        self._changed = False

    def close(self, store: StateStore) -> None:
        if self._changed:
            store.put(_HEAD, _COUNTS.pack(self.arrived, self.given, self._blocks))
        self._generation = store.generation

    def count(self, arrived: int = 0, given: int = 0) -> None:
        self.arrived, self.given = self.arrived + arrived, self.given + given
        self._changed = True

    def keep(self, store: StateStore, rows: Run) -> None:
        """Remember rows that arrived, with what is done of them."""
        if not len(rows):
            return
        parts = max(1, -(-int(rows.frame.estimated_size()) // PART_BYTES_MAX))
        blocks = list(encode_parts(rows.frame, -(-len(rows) // parts)))
        ends = np.cumsum([count for count, _ in blocks])
        starts = np.append(np.int64(0), ends[:-1])
        goes = np.maximum.reduceat(rows.forgotten, starts)
        rows.in_blocks(starts, goes, [self._name(rows.side, ms) for ms in goes.tolist()])
        for number, (name, (_, block)) in enumerate(zip(rows.names, blocks, strict=True)):
            store.put(name, block)
            if rows.done[rows.block(number)].any():
                _put_done(store, rows, number)
        self._changed = True
        _add(self.runs[rows.side], rows)

    def done(self, store: StateStore, run: Run, rows: Int64s) -> None:
        """Nothing more is to come for these rows of a run that is held."""
        rows = rows[~run.done[rows]]
        if not len(rows):
            return
        run.done[rows] = True
        for number in run.blocks_of(rows):
            _put_done(store, run, number)
        self._changed = True

    def expire(self, store: StateStore, end_ms: int) -> None:
        """Blocks go of which no row will be asked for at watermark `end_ms` or later."""
        for runs in self.runs.values():
            for at, run in enumerate(runs):
                over = np.flatnonzero(run.goes <= end_ms).tolist()
                for number in over:
                    store.delete(run.names[number])
                    store.delete(_done_name(run.names[number]))
                    run.let_go(number)
                    self._changed = True
                if over and 2 * run.gone > len(run):
                    runs[at] = run.compacted()
            runs[:] = [run for run in runs if len(run)]

    def _name(self, side: Side, goes_ms: int) -> bytes:
        self._blocks += 1
        return b"b" + _SIDE[side] + (goes_ms + _SHIFT).to_bytes(8, "big") + self._blocks.to_bytes(8, "big")

    def shown(self, entries: Sequence[tuple[bytes, bytes]]) -> dict[Side, pl.DataFrame]:
        """Rows of each side out of all entries of a store."""
        found: dict[Side, pl.DataFrame] = {}
        for side in SIDES:
            blocks = [(name, value) for name, value in entries if name.startswith(b"b" + _SIDE[side])]
            if blocks:
                found[side] = pl.concat([decode(value) for _, value in sorted(blocks, key=lambda e: e[0][10:])])
        return found

    def _read(self, store: StateStore, head: bytes | None) -> None:
        self.arrived, self.given, self._blocks = (0, 0, 0) if head is None else _COUNTS.unpack(head)
        for side in SIDES:
            first = b"b" + _SIDE[side]
            entries = sorted(store.scan(first, first + b"\xff" * 17), key=lambda entry: entry[0][10:])
            runs = [self._block(store, side, name, value) for name, value in entries]
            self.runs[side] = [joined(runs)] if runs else []

    def _block(self, store: StateStore, side: Side, name: bytes, value: bytes) -> Run:
        run = Run.of(side, decode(value), self.times)
        goes = int.from_bytes(name[2:10], "big") - _SHIFT
        run.in_blocks(np.zeros(1, np.int64), np.array([goes], np.int64), [name])
        if (bits := store.get(_done_name(name))) is not None:
            run.done = np.unpackbits(np.frombuffer(bits, np.uint8), count=len(run)).astype(np.bool_)
        return run


def due(runs: Iterable[Run], end_ms: int) -> list[tuple[Run, Int64s]]:
    """Rows that wait no longer at watermark `end_ms` and are not done, by run."""
    found = [(run, np.flatnonzero((run.closes <= end_ms) & ~run.done & (run.closes != NEVER))) for run in runs]
    return [(run, rows) for run, rows in found if len(rows)]


def _done_name(block: bytes) -> bytes:
    return b"d" + block[1:]


def _put_done(store: StateStore, run: Run, number: int) -> None:
    store.put(_done_name(run.names[number]), np.packbits(run.done[run.block(number)]).tobytes())


def _add(runs: list[Run], more: Run) -> None:
    """Runs are joined so that each is more than twice as large as the next: few to search, each row moved seldom."""
    runs.append(more)
    first = len(runs) - 1
    size = len(more)
    while first and len(runs[first - 1]) <= 2 * size:
        first -= 1
        size += len(runs[first])
    if first < len(runs) - 1:
        runs[first:] = [joined(runs[first:])]
