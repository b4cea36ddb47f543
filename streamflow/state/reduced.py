"""Changes as columns, of each key only the last: what a store takes in at once when it is restored."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Reduced:
    """Changes in order of their keys, each key once. `keys` and `values` are Binary; a null value is a deletion."""

    keys: pl.Series
    values: pl.Series


def reduced(keys: pl.Series, values: pl.Series) -> Reduced:
    """Of changes in the order in which they were made."""
    frame = pl.DataFrame([keys.alias("k"), values.alias("v")])
    key = pl.col("k")
    frame = frame.sort(key, maintain_order=True).filter((key != key.shift(-1)).fill_null(True))
    return Reduced(frame["k"], frame["v"])
