"""Rows to record batches: the envelope around values that are given as pieces, all rows in one go.

Batches come out dense (offset deltas 0..count-1), none above the limits. A frame is encoded once and its bytes are
cut where batches end, so what a batch holds never depends on how often the encoder ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from streamflow.codecs.avro_measure import Ints, segment_sums
from streamflow.codecs.envelope import HEADER_SIZE
from streamflow.codecs.pieces import Piece, assemble, bits, joined, number, per_row, total_size, zero_byte
from streamflow.codecs.varints import Bytes, Sizes, encode_column, size_of, sizes_of
from streamflow.model.batch import HEADERS, KEY, TS
from streamflow.sdk.log import NewBatch


@dataclass(frozen=True, slots=True)
class Rows:
    """What goes into records, row by row. `value`: pieces of the value without prefix, None entries are not
    possible.
    """

    count: int
    keys: list[Piece]
    ts: Ints
    value: list[Piece]
    headers: list[Piece]

    def sizes_max(self, records_max: int) -> Sizes:
        """Bytes of each record, at most: its place in a batch is not known yet."""
        value = total_size(self.value)
        ages = size_of(int(self.ts.max()) - int(self.ts.min())) if self.count else 1
        length = 1 + ages + size_of(records_max) + total_size(self.keys) + sizes_of_sizes(value) + value
        length = length + total_size(self.headers)
        return length + sizes_of_sizes(length)


def sizes_of_sizes(size: Sizes) -> Sizes:
    """Bytes of the varints of these sizes."""
    return size_of(size) if isinstance(size, int) else sizes_of(size)


def key_pieces(frame: pl.DataFrame) -> list[Piece]:
    """Record keys, of column `@key`; a null or absent key is length -1."""
    rows = frame.height
    if KEY not in frame.columns or frame[KEY].null_count() == rows:
        return [number(-1, rows, 1)]
    return nullable_bytes(frame[KEY])


def header_pieces(frame: pl.DataFrame) -> list[Piece]:
    """Record headers, of column `@headers`: a count, then names and values."""
    rows = frame.height
    if HEADERS not in frame.columns:
        return [zero_byte(rows)]
    column = frame[HEADERS]
    lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    if not lengths.any():
        return [zero_byte(rows)]
    items = column.explode(empty_as_null=False, keep_nulls=False)
    names = items.struct.field("key")
    pieces = [*nullable_bytes(names.cast(pl.Binary)), *nullable_bytes(items.struct.field("value"))]
    counts, counts_size = encode_column(lengths)
    data = assemble(pieces, len(items))
    return [joined([(counts, counts_size), (data, segment_sums(total_size(pieces), lengths))], rows)]


def nullable_bytes(column: pl.Series) -> list[Piece]:
    """Kafka's nullable bytes: the length as a varint, -1 for null."""
    if not column.null_count():
        lengths = column.bin.size().to_numpy().astype(np.int64)
        return [Piece(lengths + sizes_of(lengths), column)]
    present = column.is_not_null().to_numpy()
    inner = column.drop_nulls()
    lengths = inner.bin.size().to_numpy().astype(np.int64)
    size = lengths + sizes_of(lengths)
    behind = np.zeros(len(column), np.int64)
    behind[present] = size
    absent = np.full(len(column) - len(inner), 1, np.uint8)  # the varint of -1
    return [
        joined(
            [(absent, (~present).astype(np.int64)), (assemble([Piece(size, inner)], len(inner)), behind)], len(column)
        )
    ]


def some_null(values: list[Piece], there: np.ndarray, *, opaque: bool) -> list[Piece]:
    """Values with their lengths, -1 for rows without. `values`: of the rows that are `there`."""
    rows, count = len(there), int(there.sum())
    if not count:
        return [number(-1, rows, 1)]
    pieces = values if opaque else [_numbers(total_size(values), count), *values]
    behind = np.zeros(rows, np.int64)
    behind[there] = per_row(total_size(pieces), count)
    absent = np.full(rows - count, 1, np.uint8)  # the varint of -1
    return [joined([(absent, (~there).astype(np.int64)), (assemble(pieces, count), behind)], rows)]


def prefix_pieces(prefix: bytes, rows: int) -> list[Piece]:
    """The framing prefix in front of each value (see `framing`)."""
    if not prefix:
        return []
    if len(prefix) == 5:
        return [zero_byte(rows), bits(prefix[1:], rows)]
    return [number(-98, rows, 2), bits(prefix[2:], rows)]  # C3 01 is the varint of -98


def times(frame: pl.DataFrame) -> Ints:
    """Record times, of column `@ts`; 0 where there is none."""
    if TS not in frame.columns:
        return np.zeros(frame.height, np.int64)
    column = frame[TS]
    ts: Ints = (column.fill_null(0) if column.null_count() else column).to_numpy().astype(np.int64, copy=False)
    return ts


def cuts(sizes: Sizes, count: int, records_max: int, size_bytes_max: int) -> list[int]:
    """Where batches begin, and the end: no batch above the limits (a single record above them makes its own)."""
    room = size_bytes_max - HEADER_SIZE
    ends = np.cumsum(per_row(sizes, count))
    found, done = [0], 0
    while found[-1] < count:
        first = found[-1]
        by_size = int(np.searchsorted(ends, done + room, side="right"))
        found.append(max(first + 1, min(by_size, first + records_max, count)))
        done = int(ends[found[-1] - 1])
    return found


def encode(rows: Rows, at: Sequence[int], *, opaque: bool) -> list[NewBatch]:
    """The record batches of all rows, cut at `at` (see `cuts`). `opaque`: the value brings its own length."""
    if not rows.count:
        return []
    starts = np.array(at[:-1], np.int64)
    counts: Ints = np.array(at[1:], np.int64) - starts
    single = len(counts) == 1
    off: Any = np.arange(rows.count, dtype=np.int64)
    off = off if single else off - np.repeat(starts, counts)
    base = rows.ts[starts]
    delta = rows.ts - (base[0] if single else np.repeat(base, counts))
    time = [Piece(sizes_of(delta), pl.Series(delta))] if delta.any() else [zero_byte(rows.count)]
    value = total_size(rows.value)
    announced = [] if opaque else [_numbers(value, rows.count)]
    body = [
        zero_byte(rows.count),
        *time,
        Piece(sizes_of(off), pl.Series(off)),
        *rows.keys,
        *announced,
        *rows.value,
        *rows.headers,
    ]
    length = total_size(body)
    pieces = [_numbers(length, rows.count), *body]
    data: Bytes = assemble(pieces, rows.count)
    if single:
        return [
            NewBatch(
                count=rows.count,
                body=data.tobytes(),
                base_timestamp_ms=int(base[0]),
                max_timestamp_ms=int(rows.ts.max()),
            )
        ]
    ends = np.cumsum(per_row(total_size(pieces), rows.count))
    limits = [0, *(int(ends[i - 1]) for i in at[1:])]
    return [
        NewBatch(
            count=int(counts[i]),
            body=data[limits[i] : limits[i + 1]].tobytes(),
            base_timestamp_ms=int(base[i]),
            max_timestamp_ms=int(rows.ts[at[i] : at[i + 1]].max()),
        )
        for i in range(len(counts))
    ]


def _numbers(values: Sizes, rows: int) -> Piece:
    if isinstance(values, int):
        return number(values, rows, size_of(values))
    return Piece(sizes_of(values), pl.Series(values))
