"""Columns to JSON texts, in the forms that `json_read` takes back.

What JSON has no word for becomes text in polars first (times, bytes, decimals); maps, unions and `any` need Python
objects, and are the reason why a row is built at all. orjson writes it: polars' own JSON writer is no faster once
rows hold text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import polars as pl

from streamflow.model.types import Schema, Type, branch_names, walk


def json_texts(frame: pl.DataFrame, record: Schema) -> pl.Series:
    """One JSON object a row, as bytes."""
    names = [f.name for f in record.fields]
    columns = [_values(frame[f.name], f.type) for f in record.fields]
    dumps = orjson.dumps
    if not names:
        return pl.Series([b"{}"] * frame.height, dtype=pl.Binary)
    texts = [dumps(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    return pl.Series(texts, dtype=pl.Binary)


def not_a_number(frame: pl.DataFrame, record: Schema) -> list[int]:
    """Rows that hold NaN or an infinity anywhere."""
    mask = np.zeros(frame.height, np.bool_)
    for f in record.fields:
        if any(t.kind in ("float", "double") for t in walk(f.type)):
            mask |= _not_finite(frame[f.name], f.type)
    return np.flatnonzero(mask).tolist()


def _not_finite(column: pl.Series, t: Type) -> np.ndarray[Any, Any]:
    nothing = np.zeros(len(column), np.bool_)
    if t.kind in ("float", "double"):
        return (~column.is_finite().fill_null(True)).to_numpy()
    if t.kind == "record":
        for f in t.fields:
            nothing |= _not_finite(column.struct.field(f.name), f.type)
    if t.kind == "union":
        for name, branch in zip(branch_names(t), t.branches, strict=True):
            nothing |= _not_finite(column.struct.field(name), branch)
    if t.element is not None:
        lengths = column.list.len().fill_null(0).to_numpy()
        items = column.explode(empty_as_null=False, keep_nulls=False)
        inner = _not_finite(items.struct.field("value") if t.kind == "map" else items, t.element)
        nothing[np.repeat(np.arange(len(column)), lengths)[inner]] = True
    return nothing


def _values(column: pl.Series, t: Type) -> list[Any]:
    """Python values that orjson writes in the right form."""
    match t.kind:
        case "timestamp":
            text = "%Y-%m-%dT%H:%M:%S%.3fZ" if t.unit == "ms" else "%Y-%m-%dT%H:%M:%S%.6fZ"
            return column.dt.strftime(text).to_list()
        case "local":
            return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f" if t.unit == "ms" else "%Y-%m-%dT%H:%M:%S%.6f").to_list()
        case "date":
            return column.dt.strftime("%Y-%m-%d").to_list()
        case "time":
            return column.dt.strftime("%H:%M:%S%.3f" if t.unit == "ms" else "%H:%M:%S%.6f").to_list()
        case "bytes" | "fixed":
            return column.bin.encode("base64").to_list()
        case "decimal":
            return [None if v is None else format(v, "f") for v in column.to_list()]
        case "any":
            return [None if v is None else orjson.Fragment(v) for v in column.to_list()]
        case "float":  # the shortest text of 32 bits, not of the same number in 64
            return [None if v is None else float(v) for v in column.cast(pl.String).to_list()]
        case "array" | "map":
            return _lists(column, t)
        case "record":
            names = [f.name for f in t.fields]
            parts = [_values(column.struct.field(f.name), f.type) for f in t.fields]
            rows = zip(*parts, strict=True) if parts else iter([()] * len(column))
            some = column.is_not_null().to_list()
            return [
                dict(zip(names, row, strict=True)) if is_some else None for row, is_some in zip(rows, some, strict=True)
            ]
        case "union":
            branches = [_values(column.struct.field(n), b) for n, b in zip(branch_names(t), t.branches, strict=True)]
            return [next((v for v in row if v is not None), None) for row in zip(*branches, strict=True)]
    return column.to_list()


def _lists(column: pl.Series, t: Type) -> list[Any]:
    assert t.element is not None
    items = column.explode(empty_as_null=False, keep_nulls=False)
    values = _values(items.struct.field("value") if t.kind == "map" else items, t.element)
    keys = items.struct.field("key").to_list() if t.kind == "map" else []
    found: list[Any] = []
    at = 0
    for length in column.list.len().to_list():
        if length is None:
            found.append(None)
            continue
        end = at + length
        found.append(dict(zip(keys[at:end], values[at:end], strict=True)) if t.kind == "map" else values[at:end])
        at = end
    return found
