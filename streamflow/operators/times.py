"""Event time from values: milliseconds since 1970."""

from __future__ import annotations

import polars as pl

from streamflow.model.types import Type

TIME_KINDS = frozenset({"int", "long", "timestamp", "local", "date", "any"})


def epoch_ms(values: pl.Series, kind: Type) -> pl.Series:
    """Milliseconds since 1970 as Int64: instants converted (local ones as UTC), integers taken as they are."""
    if kind.kind in ("timestamp", "local"):
        return values.dt.epoch("ms")
    if kind.kind == "date":
        return values.cast(pl.Int64) * 86_400_000
    if kind.kind == "any":
        return values.cast(pl.String, strict=False).cast(pl.Int64, strict=False)
    return values.cast(pl.Int64)
