"""Frames to record batches: bad rows are set aside first, what is left is encoded in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from streamflow.codecs import few_records
from streamflow.codecs.api import RECORDS_MAX, SIZE_BYTES_MAX, Encoded
from streamflow.codecs.avro_check import BadRow
from streamflow.codecs.envelope import HEADER_SIZE
from streamflow.codecs.envelope_encode import Rows, cuts, encode, header_pieces, key_pieces, some_null, times
from streamflow.codecs.pieces import Piece, per_row
from streamflow.codecs.varints import Sizes
from streamflow.model.batch import GONE, HEADERS, KEY
from streamflow.sdk.log import NewBatch

_AROUND = 64  # bytes of a record around key and value, at most


class ValueWriter(Protocol):
    """What a format has to know about values."""

    opaque: bool  # the pieces bring the value's length with them

    def conform(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow]]:
        """The frame in the schema's dtypes, and the rows that do not fit it."""
        ...

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        """The values of a frame without bad rows."""
        ...

    def few(self, frame: pl.DataFrame) -> Sequence[bytes | None] | None:
        """The same values one by one, of a few rows; None: no way. A value that is None is a record without one."""
        ...


class BatchEncoder:
    """An `Encoder` (see `api`) over a format's `ValueWriter`."""

    def __init__(self, writer: ValueWriter) -> None:
        self._writer = writer

    def encode(
        self,
        frame: pl.DataFrame,
        *,
        records_max: int = RECORDS_MAX,
        size_bytes_max: int = SIZE_BYTES_MAX,
        alone_bytes_max: int | None = None,
    ) -> Encoded:
        most = max(size_bytes_max, alone_bytes_max or 0)
        if not frame.height:
            return Encoded()
        if GONE in frame.columns and frame[GONE].null_count() == frame.height:
            frame = frame.drop(GONE)
        frame, bad = self._writer.conform(frame)
        if GONE in frame.columns:
            bad = [b for b in bad if frame[GONE][b.row] is None]
        origin = np.arange(frame.height)
        if bad:
            frame, origin = _without(frame, [b.row for b in bad], origin)
        if (one := self._few(frame, min(records_max, few_records.FEW), min(size_bytes_max, most))) is not None:
            return Encoded([one], bad)
        rows = self._rows(frame)
        sizes = rows.sizes_max(records_max)
        room = most - HEADER_SIZE
        if rows.count and _largest(sizes) > room:
            each = per_row(sizes, rows.count)
            large = np.flatnonzero(each > room)
            told = [(int(origin[i]), _too_large(int(each[i]) + HEADER_SIZE, most)) for i in large]
            bad = sorted([*bad, *(BadRow(row, "too_large", text) for row, text in told)], key=lambda b: b.row)
            frame, _ = _without(frame, large.tolist(), origin)
            rows = self._rows(frame)
            sizes = rows.sizes_max(records_max)
        at = cuts(sizes, rows.count, records_max, size_bytes_max)
        return Encoded(encode(rows, at, opaque=self._writer.opaque or GONE in frame.columns), bad)

    def _few(self, frame: pl.DataFrame, records_max: int, size_bytes_max: int) -> NewBatch | None:
        """A batch of few rows, where they are sure to be within one."""
        if not 0 < frame.height <= records_max or GONE in frame.columns or HEADERS in frame.columns:
            return None
        values = self._writer.few(frame)
        if values is None:
            return None
        keys = frame[KEY].to_list() if KEY in frame.columns else [None] * frame.height
        size = sum(len(part) for part in (*keys, *values) if part) + _AROUND * frame.height
        if size > size_bytes_max - HEADER_SIZE:
            return None
        return few_records.batch(keys, times(frame).tolist(), values)

    def _rows(self, frame: pl.DataFrame) -> Rows:
        return Rows(frame.height, key_pieces(frame), times(frame), self._values(frame), header_pieces(frame))

    def _values(self, frame: pl.DataFrame) -> list[Piece]:
        if GONE not in frame.columns:
            return self._writer.pieces(frame)
        there = frame[GONE].is_null()
        items = frame.filter(there)
        values = self._writer.pieces(items) if items.height else []
        return some_null(values, there.to_numpy(), opaque=self._writer.opaque)


def _too_large(size_bytes: int, most: int) -> str:
    return (
        f"the record takes {size_bytes} bytes with its batch, more than the {most} bytes that its topic takes. "
        "Leave fields out, or raise max.message.bytes of the topic."
    )


def _without(frame: pl.DataFrame, rows: Sequence[int], origin: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
    keep = np.ones(frame.height, np.bool_)
    keep[list(rows)] = False
    return frame.filter(pl.Series(keep)), origin[keep]


def _largest(sizes: Sizes) -> int:
    return sizes if isinstance(sizes, int) else int(sizes.max())
