"""Record keys from values: one spelling per type, so that every writer of a key puts equal values into one partition.

| type of the value             | bytes of the key                                            |
|-------------------------------|-------------------------------------------------------------|
| string, enum, uuid            | UTF-8                                                       |
| bytes, fixed                  | as they are                                                 |
| int, long                     | decimal text, such as `-12`                                 |
| bool                          | `true` or `false`                                           |
| float, double                 | shortest decimal text, such as `1.0`                        |
| decimal                       | decimal text with all digits of its scale                   |
| date, time                    | ISO 8601                                                    |
| timestamp, local              | decimal number of its unit since 1970                       |
| any (JSON)                    | text of a JSON string as UTF-8, else the JSON text          |

null gives a null key. Arrays, maps, records and unions are no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import orjson
import polars as pl

from streamflow.model.batch import KEY
from streamflow.model.types import BYTES, LONG, STRING, Type, polars_dtype

_COMPARED: Final[Mapping[str, Type]] = {"whole": LONG, "text": STRING, "bytes": BYTES}  # as they are, without spelling
NO_KEY = frozenset({"array", "map", "record", "union", "null"})


def can_be_key(kind: Type) -> bool:
    """Whether values of this type can become a record key."""
    return kind.kind not in NO_KEY


def spelling(kind: Type) -> str:
    """Types with one spelling make equal keys of equal values: `whole`, `real`, `text`, `any`, or the type itself."""
    if kind.kind in ("int", "long"):
        return "whole"
    if kind.kind in ("float", "double"):
        return "real"
    if kind.is_text:
        return "text"
    return "bytes" if kind.kind == "fixed" else str(replace(kind, nullable=False, name="", doc="", aliases=()))


def key_bytes(values: pl.Series, kind: Type) -> pl.Series:
    """Keys of `values` as a Binary series named `@key`."""
    if kind.kind == "null":
        return pl.repeat(None, len(values), dtype=pl.Binary, eager=True).alias(KEY)
    if kind.kind == "any":
        return _json_keys(values).alias(KEY)
    if values.dtype == pl.Binary:
        return values.alias(KEY)
    if kind.kind in ("timestamp", "local"):
        values = values.to_physical()
    if kind.kind == "time":
        values = values.dt.to_string("%H:%M:%S%.f")
    return values.cast(pl.String).cast(pl.Binary).alias(KEY)


def _json_keys(values: pl.Series) -> pl.Series:
    frame = values.to_frame("j")
    item = pl.col("j")
    text = item.bin.starts_with(b'"')
    escaped = text & item.bin.contains(b"\\")
    plain = frame.select(
        pl.when(item == b"null").then(None).when(text).then(item.bin.slice(1, item.bin.size() - 2)).otherwise(item)
    ).to_series()
    where = frame.select(escaped.fill_null(False)).to_series()
    if where.any():
        # Escapes in a key are rare: only these rows are parsed one by one.
        rows = where.arg_true()
        parsed = [orjson.loads(v).encode() for v in values.gather(rows)]
        plain = plain.scatter(rows, pl.Series(parsed, dtype=pl.Binary))
    return plain


def comparable_keys(one: Type, other: Type) -> bool:
    """Whether equal values of two types make equal keys; JSON values may be of any type."""
    return "any" in (one.kind, other.kind) or spelling(one) == spelling(other)


def compared_keys(one: Type, other: Type) -> tuple[Callable[[Type], Callable[[pl.Series], pl.Series]], Type]:
    """(how values of a type become what is compared with those of the other, the type of that)."""
    spelled = spelling(one)
    if spelled == spelling(other) and spelled in _COMPARED:
        compared = _COMPARED[spelled]
        dtype = polars_dtype(compared)
        return lambda _: lambda values: values.cast(dtype), compared
    return lambda kind: lambda values: key_bytes(values, kind), BYTES
