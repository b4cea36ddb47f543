"""Types from the dtypes of a frame that was not made by us: a Parquet file, or what a user's function returned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from streamflow.model.types import (
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    NULL,
    STRING,
    TIME_US,
    Field,
    Schema,
    TimeUnit,
    Type,
    array_of,
)  # fmt: skip
from streamflow.sdk.errors import CodecError

_PLAIN: list[tuple[pl.DataType, Type]] = [
    (pl.Boolean(), BOOL), (pl.Int8(), INT), (pl.Int16(), INT), (pl.Int32(), INT), (pl.UInt8(), INT), (pl.UInt16(), INT),
    (pl.UInt32(), LONG), (pl.Int64(), LONG), (pl.UInt64(), LONG), (pl.Float32(), FLOAT), (pl.Float64(), DOUBLE),
    (pl.String(), STRING), (pl.Binary(), BYTES), (pl.Date(), DATE), (pl.Time(), TIME_US), (pl.Null(), NULL),
]  # fmt: skip


def field_names(titles: Sequence[str]) -> list[str]:
    """Column titles as field names: what is no letter or digit becomes `_`; repeated names are numbered."""
    names: list[str] = []
    for at, title in enumerate(titles):
        name = re.sub(r"\W", "_", title.strip(), flags=re.ASCII) or f"column_{at + 1}"
        name = f"_{name}" if name[0].isdigit() else name
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return names


def type_of(dtype: pl.DataType) -> Type | None:
    """The type whose column a dtype is or can be cast to; None when there is none."""
    for known, t in _PLAIN:
        if dtype == known:
            return t
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return STRING
    if isinstance(dtype, pl.Datetime):
        unit: TimeUnit = "ms" if dtype.time_unit == "ms" else "us"
        return Type(kind="timestamp" if dtype.time_zone else "local", unit=unit)
    if isinstance(dtype, pl.Decimal):
        return Type(kind="decimal", precision=dtype.precision or 38, scale=dtype.scale)
    if isinstance(dtype, pl.List | pl.Array):
        element = type_of(dtype.inner)  # type: ignore[arg-type]
        return None if element is None else array_of(element.optional())
    if isinstance(dtype, pl.Struct):
        inner = [(f.name, type_of(f.dtype)) for f in dtype.fields]  # type: ignore[arg-type]
        fields = tuple(Field(name=n, type=t.optional()) for n, t in inner if t is not None)
        return Type(kind="record", fields=fields) if len(fields) == len(inner) else None
    return None


def record_of_dtypes(columns: Mapping[str, pl.DataType], what: str) -> Schema:
    """A record schema with nullable fields from the columns of a frame."""
    names = field_names(list(columns))
    fields = []
    for name, (column, dtype) in zip(names, columns.items(), strict=True):
        found = type_of(dtype)
        if found is None:
            raise CodecError(f"{what}: column {column!r} has type {dtype}, which items cannot hold.")
        fields.append(Field(name=name, type=replace(found, nullable=True)))
    return Type(kind="record", fields=tuple(fields))
