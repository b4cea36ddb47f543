"""Bytes of rows from columns: polars writes the simple ones, numpy puts the rest between them.

A row is a sequence of pieces. A *column* piece is written by polars, together with all other column pieces of the
rows, as `["null", T]`: one tag byte in front of each value, of which a mask keeps those that the schema has. A
*stream* piece is bytes of all rows back to back with a size per row (arrays, unions, decimals: what polars cannot
write). `assemble` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.avro_measure import Ints, MismatchError
from streamflow.codecs.containers import written
from streamflow.codecs.varints import Bytes, Sizes

Tag = Literal["drop", "keep", "flip", "only"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one part of each row. `size`: bytes a row in the result. Either `column` or `data` is set.

    `tag`: what becomes of polars' tag byte: dropped; kept (null is branch 0); flipped (null is branch 1); or the byte
    0 of a null *is* the piece. `skip`: bytes behind the tag of a value to drop as well (the length of a fixed).
    """

    size: Sizes
    column: pl.Series | None = None
    tag: Tag = "drop"
    skip: int = 0
    data: Bytes | None = None


def zero_byte(rows: int) -> Piece:
    """A byte 0 in each row, for the price of polars' tag of a null."""
    return Piece(1, _constant(None, pl.Boolean(), rows), "only")


def number(value: int, rows: int, size_bytes: int) -> Piece:
    """The same varint in each row."""
    return Piece(size_bytes, _constant(value, pl.Int64(), rows))


def _constant(value: object, dtype: pl.DataType, rows: int) -> pl.Series:
    return pl.Series([value], dtype=dtype).new_from_index(0, rows)


def bits(raw: bytes, rows: int) -> Piece:
    """The same 4 or 8 bytes in each row, as a float of those bits."""
    dtype: pl.DataType = pl.Float32() if len(raw) == 4 else pl.Float64()
    one = pl.Series(np.frombuffer(raw, np.float32 if len(raw) == 4 else np.float64), dtype=dtype)
    return Piece(len(raw), one.new_from_index(0, rows))


def total_size(pieces: Sequence[Piece]) -> Sizes:
    """Bytes a row of all pieces together."""
    return sum((p.size for p in pieces), start=0)


def per_row(size: Sizes, rows: int) -> Ints:
    """Sizes as an array, also where one number stands for all."""
    return np.full(rows, size, np.int64) if isinstance(size, int) else size


def assemble(pieces: Sequence[Piece], rows: int) -> Bytes:
    """The bytes of all rows, one row behind another, each its pieces in order."""
    columns = [p for p in pieces if p.column is not None]
    flat = _write_columns(columns, rows) if columns and rows else _NOTHING
    if len(columns) == len(pieces):
        return flat
    streams: list[Bytes] = [flat]
    order: list[int] = []
    sizes: list[Sizes] = []
    for p in pieces:
        if p.data is not None:
            order.append(len(streams))
            streams.append(p.data)
            sizes.append(p.size)
        elif order and order[-1] == 0:
            sizes[-1] = sizes[-1] + p.size
        else:
            order.append(0)
            sizes.append(p.size)
    return _interleave(streams, order, sizes, rows)


_NOTHING: Final = np.empty(0, np.uint8)


def _interleave(streams: Sequence[Bytes], order: Sequence[int], sizes: Sequence[Sizes], rows: int) -> Bytes:
    """Row by row, `sizes[i]` bytes of stream `order[i]`."""
    if len(order) == 1:
        return streams[order[0]]
    table = np.empty((rows, len(order)), np.int64)
    for i, size in enumerate(sizes):
        table[:, i] = size
    kinds = np.uint8 if len(streams) < 256 else np.uint16
    source = np.repeat(np.tile(np.array(order, kinds), rows), table.reshape(-1))
    out = np.empty(len(source), np.uint8)
    for i, data in enumerate(streams):
        if len(data):
            out[source == i] = data
    if len(source) != sum(len(s) for s in streams):
        raise MismatchError("size arithmetic disagrees with the streams")
    return out


def _write_columns(columns: Sequence[Piece], rows: int) -> Bytes:
    raw = written(pl.DataFrame([p.column.alias(f"c{i}") for i, p in enumerate(columns) if p.column is not None]))
    row: Sizes = 0
    spans: list[tuple[Piece, Sizes, Sizes]] = []  # piece, where its tag stands in the row, bytes skipped behind it
    for p in columns:
        assert p.column is not None
        skipped: Sizes = p.skip
        if p.skip and p.column.null_count():
            skipped = np.where(p.column.is_not_null().to_numpy(), p.skip, 0)
        spans.append((p, row, skipped))
        row = row + p.size + (1 if p.tag == "drop" else 0) + skipped
    starts = np.arange(rows, dtype=np.int64) * row if isinstance(row, int) else np.cumsum(row) - row
    if int(starts[-1]) + (row if isinstance(row, int) else int(row[-1])) != len(raw):
        raise MismatchError("size arithmetic disagrees with the encoder")
    keep = np.ones(len(raw), np.bool_)
    for p, before, skipped in spans:
        if p.tag == "only" or (p.tag == "keep" and not p.skip):
            continue
        at = starts + before
        if p.tag == "flip":
            raw[at] ^= 2
        elif p.tag == "drop":
            keep[at] = False
        for i in range(1, p.skip + 1):
            keep[(at + i) if isinstance(skipped, int) else (at + i)[skipped > 0]] = False
    return pl.Series(raw).filter(pl.Series(keep)).to_numpy()  # a quarter of the time of raw.compress(keep)


def nullable(present: npt.NDArray[np.bool_], inner: Bytes, size: Sizes, value_tag: int, null_tag: int) -> Piece:
    """A tag in each row and, where `present`, the next `size` bytes of `inner`."""
    rows = len(present)
    behind = np.zeros(rows, np.int64)
    behind[present] = size
    tags = np.where(present, np.uint8(value_tag), np.uint8(null_tag)).astype(np.uint8)
    return Piece(behind + 1, data=_interleave([tags, inner], [0, 1], [1, behind], rows))


def joined(parts: Sequence[tuple[Bytes, Sizes]], rows: int) -> Piece:
    """Several streams as one: row by row, part by part."""
    data = _interleave([d for d, _ in parts], range(len(parts)), [s for _, s in parts], rows)
    return Piece(sum((s for _, s in parts), start=0), data=data)
