"""The schema of a file without one, from its head: what is inferred is what a reader then holds all rows to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fastavro
import polars as pl

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.connectors.files.blocks import RecordBlocks
from streamflow.connectors.files.csv import field_names, read_header
from streamflow.connectors.files.formats import FileKind, open_file
from streamflow.model.types import (
    ANY,
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
    Type,
    array_of,
    frame_schema,
)
from streamflow.operators.fitting import default_value
from streamflow.sdk.errors import CodecError

SAMPLE_ROWS = 10_000
_LEADING_ZERO = r"^[+-]?0\d"

_PLAIN: list[tuple[pl.DataType, Type]] = [
    (pl.Boolean(), BOOL), (pl.Int8(), INT), (pl.Int16(), INT), (pl.Int32(), INT), (pl.UInt8(), INT), (pl.UInt16(), INT),
    (pl.UInt32(), LONG), (pl.Int64(), LONG), (pl.UInt64(), LONG), (pl.Float32(), FLOAT), (pl.Float64(), DOUBLE),
    (pl.String(), STRING), (pl.Binary(), BYTES), (pl.Date(), DATE), (pl.Time(), TIME_US), (pl.Null(), NULL),
]  # fmt: skip


def infer_schema(path: Path, kind: FileKind, *, null_values: Sequence[str] = (), header: bool = True) -> Schema:
    """The schema of a file: stored in Avro and Parquet, sampled in CSV, `any` for JSON lines."""
    if kind.format == "jsonl":
        return ANY
    if kind.format == "avro":
        with path.open("rb") as stream:
            return schema_from_avro(fastavro.reader(stream).writer_schema, what=str(path))
    if kind.format == "parquet":
        return record_of_dtypes(pl.read_parquet_schema(path), path)
    return _infer_csv(path, kind, null_values, header)


def _infer_csv(path: Path, kind: FileKind, null_values: Sequence[str], header: bool) -> Schema:
    blocks = RecordBlocks(open_file(path, kind), path, 0, quoted=True)
    titles = field_names(read_header(blocks, kind.delimiter)) if header else []
    sample = blocks.take(SAMPLE_ROWS).data
    blocks.close()
    if not sample:
        return Type(kind="record", fields=tuple(Field(name=n, type=STRING.optional()) for n in titles))
    read = {
        "has_header": False,
        "separator": kind.delimiter,
        "null_values": list(null_values) or None,
        "encoding": "utf8-lossy",
        "truncate_ragged_lines": True,
    }
    guessed = pl.read_csv(io.BytesIO(sample), infer_schema_length=None, **read)  # type: ignore[arg-type]
    texts = pl.read_csv(io.BytesIO(sample), infer_schema=False, **read)  # type: ignore[arg-type]
    titles = titles or field_names(["" for _ in guessed.columns])
    fields = []
    for title, name in zip(titles, guessed.columns, strict=False):
        found = type_of(guessed[name].dtype)
        # 00501 is a code, not the number 501.
        if found is None or found.kind == "null" or texts[name].str.contains(_LEADING_ZERO).any():
            found = STRING
        fields.append(Field(name=title, type=found.optional()))
    return Type(kind="record", fields=tuple(fields))


def type_of(dtype: pl.DataType) -> Type | None:
    """The type whose column a dtype is or can be cast to; None when there is none."""
    for known, t in _PLAIN:
        if dtype == known:
            return t
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return STRING
    if isinstance(dtype, pl.Datetime):
        unit = "ms" if dtype.time_unit == "ms" else "us"
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


def record_of_dtypes(columns: dict[str, pl.DataType], path: Path) -> Schema:
    """A record schema with nullable fields from the columns of a frame."""
    names = field_names(list(columns))
    fields = []
    for name, (column, dtype) in zip(names, columns.items(), strict=True):
        found = type_of(dtype)
        if found is None:
            raise CodecError(f"{path}: column {column!r} has type {dtype}, which items cannot hold.")
        fields.append(Field(name=name, type=replace(found, nullable=True)))
    return Type(kind="record", fields=tuple(fields))


def to_schema(frame: pl.DataFrame, schema: Schema, path: Path) -> pl.DataFrame:
    """A frame read from a typed file as columns of the schema, matched by name."""
    frame = frame.rename(dict(zip(frame.columns, field_names(frame.columns), strict=True)))
    missing = [f.name for f in schema.fields if f.name not in frame.columns and not (f.type.nullable or f.has_default)]
    if missing:
        raise CodecError(f"{path}: no column {missing[0]!r}; there is: {', '.join(frame.columns)}.")
    absent = [f for f in schema.fields if f.name not in frame.columns]
    if absent:
        frame = frame.with_columns(default_value(f).alias(f.name) for f in absent)
    wanted = frame_schema(schema)
    return frame.select(pl.col(n).cast(t) for n, t in wanted.items())
