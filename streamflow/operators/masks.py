"""Masks from conditions: a null is false, and a JSON condition is true only when it is the JSON value true."""

from __future__ import annotations

import polars as pl


def condition(values: pl.Series) -> pl.Series:
    """Boolean mask without nulls from the values of a condition (Boolean, or Binary JSON text)."""
    if values.dtype == pl.Binary:
        values = values == b"true"
    elif values.dtype == pl.Null:
        values = values.cast(pl.Boolean)
    return values.fill_null(False) if values.null_count() else values
