"""Decimals: Avro carries them as big-endian two's complement of any length, polars as 128-bit integers.

Columns convert without a loop over rows: 16-byte numbers are two 64-bit halves.
"""

from __future__ import annotations

import io
from decimal import Context
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.containers import container, header_of
from streamflow.codecs.varints import Bytes

WIDTH: Final = 16  # bytes of a 128-bit integer
EXACT: Final = Context(prec=1_000)  # Python's default context rounds to 28 digits


def decimal_from_bytes(raw: pl.Series, precision: int, scale: int) -> pl.Series:
    """Two's complement of 0 or more bytes each -> Decimal(precision, scale). Nulls stay null.

    Raises ValueError when a number has more digits than `precision`.
    """
    filled = raw.fill_null(b"")
    lengths = filled.bin.size().to_numpy().astype(np.int64)
    data = np.frombuffer(b"".join(filled.to_list()), np.uint8)
    table = _aligned(data, lengths)
    header = header_of([{"name": "d", "type": {"type": "fixed", "name": "D", "size": WIDTH, "logicalType": "decimal",
                                               "precision": 38, "scale": scale}}])  # fmt: skip
    if not len(raw):
        return pl.Series(raw.name, [], dtype=pl.Decimal(precision, scale))
    numbers = pl.read_avro(io.BytesIO(container(header, len(raw), table.tobytes())))["d"]
    limit = 10**precision
    if not numbers.to_physical().is_between(-limit, limit, closed="none").all():
        raise ValueError(f"a decimal of more than {precision} digits")
    numbers = numbers.cast(pl.Decimal(precision, scale))
    if raw.null_count():
        numbers = pl.select(pl.when(raw.is_not_null()).then(numbers)).to_series()
    return numbers.alias(raw.name)


def _aligned(data: Bytes, lengths: npt.NDArray[np.int64]) -> Bytes:
    """One row of WIDTH bytes a number, sign-extended."""
    n = len(lengths)
    if n and int(lengths.max()) > WIDTH:
        data, lengths = _shortened(data, lengths)
    ends = np.cumsum(lengths)
    first = ends - lengths
    negative = np.zeros(n, bool)
    some = lengths > 0
    negative[some] = data[first[some]] >= 0x80
    table = np.repeat(np.where(negative, np.uint8(0xFF), np.uint8(0)), WIDTH).reshape(n, WIDTH)
    rows = np.repeat(np.arange(n), lengths)
    columns = np.arange(len(data)) - np.repeat(first, lengths) + np.repeat(WIDTH - lengths, lengths)
    table[rows, columns] = data
    return table


def _shortened(data: Bytes, lengths: npt.NDArray[np.int64]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Numbers of more than WIDTH bytes, cut to WIDTH. Raises ValueError unless what is cut is sign only."""
    ends = np.cumsum(lengths)
    keep = np.ones(len(data), np.bool_)
    for i in np.flatnonzero(lengths > WIDTH).tolist():  # few, if any; one may be huge
        first, last = int(ends[i] - lengths[i]), int(ends[i]) - WIDTH
        if not (data[first:last] == (0xFF if data[last] >= 0x80 else 0)).all():
            raise ValueError("a decimal of more than 128 bits")
        keep[first:last] = False
    return data[keep], np.minimum(lengths, WIDTH)


def decimal_to_table(numbers: pl.Series) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Decimals without nulls -> (n rows of WIDTH bytes, how many of the last bytes each number needs: 1 to WIDTH)."""
    physical = numbers.to_physical().cast(pl.Int128)
    halves = pl.DataFrame({"p": physical}).select(
        high=(pl.col("p") // (1 << 64)).cast(pl.Int64),
        low=(pl.col("p") - (pl.col("p") // (1 << 64)) * (1 << 64)).cast(pl.UInt64),
    )
    high, low = halves["high"].to_numpy(), halves["low"].to_numpy()
    table = np.empty((len(numbers), WIDTH), np.uint8)
    table[:, :8] = high.astype(">i8").view(np.uint8).reshape(-1, 8)
    table[:, 8:] = low.astype(">u8").view(np.uint8).reshape(-1, 8)
    needed = np.full(len(numbers), WIDTH, np.int64)
    going = np.ones(len(numbers), bool)
    for i in range(WIDTH - 1):  # drop a leading byte while it only repeats the sign of the next
        going &= ((table[:, i] == 0) & (table[:, i + 1] < 0x80)) | ((table[:, i] == 0xFF) & (table[:, i + 1] >= 0x80))
        needed -= going
    return table, needed
