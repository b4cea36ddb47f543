"""Columns to JSON texts, in the forms that `json_read` takes back.

What JSON has no word for becomes text in polars first (times, bytes, decimals); maps, unions and `any` need Python
objects, and are the reason why a row is built at all. orjson writes it: polars' own JSON writer is no faster once
rows hold text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from streamflow.codecs.avro_check import BadRow
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


def unsayable(frame: pl.DataFrame, record: Schema) -> list[BadRow]:
    """Rows that hold what JSON cannot say: NaN, infinities, times outside the years of ISO 8601."""
    found: dict[int, BadRow] = {}
    for code, message, kinds, wrong in _RULES:
        for f in record.fields:
            if any(t.kind in kinds for t in walk(f.type)):
                for row in np.flatnonzero(_rows(frame[f.name], f.type, kinds, wrong)).tolist():
                    found.setdefault(row, BadRow(row, code, f"field {f.name!r} holds {message}."))
    return [found[row] for row in sorted(found)]


def _not_finite(column: pl.Series, _: Type) -> pl.Series:
    return ~column.is_finite()


def _out_of_range(column: pl.Series, t: Type) -> pl.Series:
    scale = 1 if t.kind == "date" else 86_400_000 if t.unit == "ms" else 86_400_000_000
    return ~column.to_physical().is_between(_FIRST_DAY * scale, (_LAST_DAY + 1) * scale - 1)


_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, in days since 1970
_RULES: Final[tuple[tuple[str, str, tuple[str, ...], Callable[[pl.Series, Type], pl.Series]], ...]] = (
    ("not_a_number", "NaN or an infinity, which JSON cannot say", ("float", "double"), _not_finite),
    ("does_not_fit", "a time outside the years 1 to 9999", ("date", "timestamp", "local"), _out_of_range),
)


def _rows(
    column: pl.Series, t: Type, kinds: tuple[str, ...], wrong: Callable[[pl.Series, Type], pl.Series]
) -> npt.NDArray[np.bool_]:
    """Rows that hold, anywhere inside, a value of one of `kinds` that is `wrong`."""
    found = np.zeros(len(column), np.bool_)
    if t.kind in kinds:
        return wrong(column, t).fill_null(False).to_numpy()
    if t.kind == "record":
        for f in t.fields:
            found |= _rows(column.struct.field(f.name), f.type, kinds, wrong)
    if t.kind == "union":
        for name, branch in zip(branch_names(t), t.branches, strict=True):
            found |= _rows(column.struct.field(name), branch, kinds, wrong)
    if t.element is not None:
        lengths = column.list.len().fill_null(0).to_numpy()
        items = column.explode(empty_as_null=False, keep_nulls=False)
        inner = _rows(items.struct.field("value") if t.kind == "map" else items, t.element, kinds, wrong)
        found[np.repeat(np.arange(len(column)), lengths)[inner]] = True
    return found


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
