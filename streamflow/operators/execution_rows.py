"""Rows of executions that have not ended, kept in a store in the order of arrival.

One entry holds the rows that one step brought: key = execution, NUL, number; value = a head and an Arrow IPC stream,
compressed. So an entry is written once and never changed, however many steps an execution spans. An execution's id
holds no NUL byte.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION, KEY, PATH, ROW, TS, WM
from streamflow.model.types import PAYLOAD
from streamflow.operators.explode import index_bytes
from streamflow.sdk.operator import NO_ROW
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO, StateStore

_NUMBER = struct.Struct(">Q")
_COUNTS = struct.Struct(">QQ")  # entries, rows
_CHUNK_ROWS_MAX = 50_000
PART_BYTES_MAX: Final = 400_000  # of an entry, unless one row alone takes more; a changelog record holds 1 MiB


class ExecutionRows:
    """`part` tells apart several sets of rows of one execution, such as the ports of a merge."""

    def __init__(self, store: StateStore, part: str = "") -> None:
        self._store, self._part = store, part.encode()

    def add(self, execution: str, frame: pl.DataFrame) -> None:
        """Keep rows of one execution behind those kept before."""
        head = self._head(execution)
        number, rows = self._counts(head)
        for _, part in encode_parts(frame, _CHUNK_ROWS_MAX):
            self._store.put(head + b"r" + _NUMBER.pack(number), part)
            number += 1
        self._store.put(head + b"#", _COUNTS.pack(number, rows + frame.height))

    def count(self, execution: str) -> int:
        """How many rows of an execution are kept."""
        return self._counts(self._head(execution))[1]

    def add_all(self, frame: pl.DataFrame) -> None:
        """Keep rows of any executions."""
        for execution, rows in by_execution(frame):
            self.add(execution, rows)

    def take(self, execution: str) -> pl.DataFrame | None:
        """All rows of an execution in order of arrival, which are then forgotten; None when there are none."""
        head = self._head(execution)
        entries = list(self._store.scan(head + b"r", head + b"s"))
        if not entries:
            return None
        self._store.delete_many([*(key for key, _ in entries), head + b"#"])
        return pl.concat([decode(value) for _, value in entries], how="diagonal")

    def _counts(self, head: bytes) -> tuple[int, int]:
        found = self._store.get(head + b"#")
        return _COUNTS.unpack(found) if found else (0, 0)

    def _head(self, execution: str) -> bytes:
        return b"\0".join((execution.encode(), self._part, b""))


def waiting(entries: Iterable[tuple[bytes, bytes]], part: str = "") -> dict[str, pl.DataFrame]:
    """Rows by execution, out of all entries of a store."""
    found: dict[str, list[pl.DataFrame]] = {}
    for key, value in entries:
        execution, its_part, rest = key.split(b"\0", 2)
        if its_part == part.encode() and rest.startswith(b"r"):
            found.setdefault(execution.decode(), []).append(decode(value))
    return {execution: pl.concat(frames, how="diagonal") for execution, frames in found.items()}


def as_state(rows: Mapping[str, pl.DataFrame], **more: str) -> pl.DataFrame:
    """Rows that wait, by execution, as `sdk.state.ReadsState` gives them. `more`: further columns, named `@…`."""
    shown = [NOTHING_KEPT]
    for execution, frame in rows.items():
        key = pl.col(KEY) if KEY in frame.columns else pl.lit(None, dtype=pl.Binary)
        nothing = [pl.lit(None, dtype=pl.Int64).alias(name) for name in (STATE_FROM, STATE_TO)]
        named = [pl.lit(value).alias(name) for name, value in ((EXECUTION, execution), *more.items())]
        values = [c for c in frame.columns if c == PAYLOAD or not c.startswith("@")]
        shown.append(frame.with_columns(key.alias(STATE_KEY), *nothing, *named).select(
            STATE_KEY, STATE_FROM, STATE_TO, EXECUTION, *more, *values))  # fmt: skip
    return pl.concat(shown, how="diagonal")


NOTHING_KEPT = pl.DataFrame(schema={STATE_KEY: pl.Binary, STATE_FROM: pl.Int64, STATE_TO: pl.Int64})


def by_execution(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Rows of each execution, executions in order of first arrival."""
    if frame.height and frame[EXECUTION][0] == frame[EXECUTION][-1] and frame[EXECUTION].n_unique() == 1:
        yield frame[EXECUTION][0], frame
        return
    for rows in frame.partition_by(EXECUTION, maintain_order=True):
        yield rows[EXECUTION][0], rows


def encode(frame: pl.DataFrame) -> bytes:
    """A frame as compressed Arrow IPC bytes."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


def encode_parts(frame: pl.DataFrame, rows_max: int) -> Iterator[tuple[int, bytes]]:
    """A frame in parts, each with its number of rows: at most `rows_max`, and fewer where rows are large."""
    for part in frame.iter_slices(rows_max):
        encoded = encode(part)
        if len(encoded) > PART_BYTES_MAX and part.height > 1:
            yield from encode_parts(part, -(-part.height // 2))
        else:
            yield part.height, encoded


def decode(value: bytes) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(value))


def from_state(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark rows as coming out of state: no row of this step stands for them."""
    return frame.with_columns(pl.lit(NO_ROW, dtype=pl.UInt32).alias(ROW))


def new_rows(old: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """`made` (payload) with reserved columns: rows that stand for the whole of `old`, one execution's rows.

    Row i takes the place (`@row`) of the i-th of the old rows; `@ts` and `@wm` are the latest, `@path` counts the
    rows so that their order holds, the key is null, and all else is that of the execution's first row.
    """
    height = made.height
    columns: list[pl.Series] = []
    for name in reserved(old):
        if name == ROW:
            rows = old[ROW].sort()
            at = pl.int_range(0, height, dtype=pl.UInt32, eager=True).clip(upper_bound=max(old.height - 1, 0))
            columns.append(rows.gather(at).alias(ROW))
        elif name == PATH:
            columns.append(index_bytes(pl.int_range(0, height, eager=True)).alias(PATH))
        elif name == KEY:
            columns.append(pl.repeat(None, height, dtype=pl.Binary, eager=True).alias(KEY))
        elif not name.startswith("@nodes."):
            value = old[name].max() if name in (TS, WM) else old[name][0]
            columns.append(pl.Series(name, [value], dtype=old[name].dtype).new_from_index(0, height))
    return made.with_columns(columns)


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of an execution in the order they have now, as the order of arrival: `@row` and `@path` say so too."""
    columns = [frame[ROW].sort()] if ROW in frame.columns else []
    if PATH in frame.columns:
        columns.append(index_bytes(pl.int_range(0, frame.height, eager=True)).alias(PATH))
    return frame.with_columns(columns)


def reserved(frame: pl.DataFrame) -> list[str]:
    """Columns of a frame that are no payload."""
    return [c for c in frame.columns if c.startswith("@") and c != PAYLOAD]


def arrived(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of several executions of a step, in the order of arrival again."""
    if len(frames) == 1:
        return frames[0]
    joined = pl.concat(frames, how="diagonal")
    return joined.sort([ROW, PATH] if PATH in joined.columns else [ROW], maintain_order=True)
