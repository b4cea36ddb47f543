"""Hashes of values that are the same in every process, on every machine and in every version: 64 bits."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.model.types import Type
from streamflow.operators.keys import key_bytes

UInt64s = npt.NDArray[np.uint64]


def hashes(values: pl.Series, of: Type) -> UInt64s:
    """A hash for each value of type `of`, equal for equal values; any for null."""
    if of.kind in ("bool", "int", "long", "date", "timestamp", "local"):
        return _mixed(values.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64))
    if of.kind in ("float", "double"):
        numbers = values.cast(pl.Float64).fill_null(0).to_numpy() + 0.0  # -0.0 is 0.0
        return _mixed(np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64))
    texts = values if values.dtype == pl.Binary else key_bytes(values, of)
    each = texts.unique()
    found = pl.DataFrame({"t": each, "h": [_of_bytes(b) for b in each.to_list()]}, schema_overrides={"h": pl.UInt64})
    joined = texts.to_frame("t").join(found, on="t", how="left", nulls_equal=True, maintain_order="left")
    return joined["h"].to_numpy()


def _of_bytes(value: bytes | None) -> int:
    return int.from_bytes(blake2b(value or b"", digest_size=8).digest(), "big")


def _mixed(z: UInt64s) -> UInt64s:
    """SplitMix64: every bit of the input moves half of those of the output."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
