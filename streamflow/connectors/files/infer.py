"""The schema of a file without one, from its head: what is inferred is what a reader then holds all rows to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import fastavro
import polars as pl

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.connectors.files.blocks import RecordBlocks
from streamflow.connectors.files.csv import read_header
from streamflow.connectors.files.formats import FileKind, open_file
from streamflow.model.types import ANY, STRING, Field, Schema, Type, frame_schema
from streamflow.operators.dtypes import field_names, record_of_dtypes, type_of
from streamflow.operators.fitting import default_value
from streamflow.sdk.errors import CodecError

SAMPLE_ROWS = 10_000
_LEADING_ZERO = r"^[+-]?0\d"


def infer_schema(path: Path, kind: FileKind, *, null_values: Sequence[str] = (), header: bool = True) -> Schema:
    """The schema of a file: stored in Avro and Parquet, sampled in CSV, `any` for JSON lines."""
    if kind.format == "jsonl":
        return ANY
    if kind.format == "avro":
        with path.open("rb") as stream:
            return schema_from_avro(fastavro.reader(stream).writer_schema, what=str(path))
    if kind.format == "parquet":
        return record_of_dtypes(pl.read_parquet_schema(path), str(path))
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
