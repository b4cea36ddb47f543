"""What tells groups apart, in columns: the same that their names as bytes tell (see `window_rows.Keys.names`)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.operators.keys import key_bytes
from streamflow.operators.window_rows import Keys

_PLAIN: Final = ("string", "int", "long", "bool", "bytes")  # values of these types are equal where their names are
_NO_NAME: Final = 2**32 - 1  # stands for the size of a name that is null


def telling(keys: Keys, rows: pl.DataFrame) -> pl.DataFrame:
    """Columns, named as those of the keys in `rows`, that are equal where the names of their groups are."""
    return pl.DataFrame(dict(zip(keys.columns, _telling(keys, [rows[c] for c in keys.columns]), strict=True)))


def marks(keys: Keys, groups: Sequence[pl.Series]) -> Sequence[Hashable]:
    """Keys of a dict for groups; `groups` are the columns of the keys, in their order."""
    parts = [part.to_list() for part in _telling(keys, groups)]
    return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))


def in_order(keys: Keys, ends: npt.NDArray[np.int64], groups: Sequence[pl.Series]) -> pl.Series:
    """Rows in the order of `ends`, and under one end in that of the groups' names."""
    by = [pl.Series("e", ends)]
    for i, (column, (_, of)) in enumerate(zip(groups, keys.columns.values(), strict=True)):
        name = key_bytes(column, of)
        if len(groups) > 1:  # each is framed by its size
            by.append(name.bin.size().fill_null(_NO_NAME).alias(f"s{i}"))
        by.append(name.alias(f"n{i}"))
    return pl.DataFrame(by).select(pl.arg_sort_by([s.name for s in by])).to_series()


def _telling(keys: Keys, columns: Sequence[pl.Series]) -> list[pl.Series]:
    types = [of for _, of in keys.columns.values()]
    return [c if of.kind in _PLAIN else key_bytes(c, of) for c, of in zip(columns, types, strict=True)]
