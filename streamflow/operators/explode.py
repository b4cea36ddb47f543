"""One row becomes several: elements of an array, with lineage.

`@path` of a child is the parent's with the child's index behind it (4 bytes, big-endian), so that bytewise order is the
order of a depth-first walk.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from streamflow.model.batch import PATH


def index_bytes(index: pl.Series) -> pl.Series:
    """Each index as 4 bytes big-endian."""
    if not len(index):
        return pl.Series(index.name, [], dtype=pl.Binary)
    top = int(index.max())  # type: ignore[arg-type]
    raw = np.arange(top + 1, dtype=">u4").tobytes()
    table = pl.Series(index.name, [raw[at : at + 4] for at in range(0, len(raw), 4)], dtype=pl.Binary)
    return table.gather(index.cast(pl.UInt32))


def extend_path(frame: pl.DataFrame, index: pl.Series) -> pl.DataFrame:
    """`frame` with each row's index put behind its `@path`, where it has one."""
    if PATH not in frame.columns or not frame.height:
        return frame
    return frame.with_columns((frame[PATH] + index_bytes(index)).alias(PATH))


def child_index(counts: pl.Series) -> pl.Series:
    """0 … n-1 for each of `counts`, one after the other."""
    n = counts.to_numpy().astype(np.int64)
    total = int(n.sum())
    starts = np.repeat(np.cumsum(n) - n, n)
    return pl.Series("@index", np.arange(total, dtype=np.int64) - starts)


def explode(frame: pl.DataFrame, column: str) -> tuple[pl.DataFrame, pl.Series]:
    """One row per element of a list column without null or empty lists: (rows, index of each within its parent)."""
    index = child_index(frame[column].list.len())
    return extend_path(frame.explode(column), index), index


def take(frame: pl.DataFrame, counts: list[int], extend: list[bool] | None = None) -> pl.DataFrame:
    """Row i `counts[i]` times. Paths are extended as in `explode`, where `extend` is given only for rows it names."""
    n = np.array(counts, dtype=np.int64)
    parents = np.repeat(np.arange(len(counts)), n)
    rows = frame[pl.Series(parents, dtype=pl.UInt32)]
    if PATH not in frame.columns or not rows.height:
        return rows
    extended = extend_path(rows, child_index(pl.Series(n)))
    if extend is None:
        return extended
    mask = pl.Series(np.array(extend, dtype=np.bool_)[parents])
    return rows.with_columns(extended[PATH].zip_with(mask, rows[PATH]))
