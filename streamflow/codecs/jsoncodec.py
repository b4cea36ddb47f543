"""JSON topics: untyped (`any`: the text itself is the item) and typed (a record schema: every field a column).

Values are parsed by orjson, which is strict (UTF-8, no NaN, no trailing bytes) and bounds nesting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl

from streamflow.codecs.api import BadCode, CodecSpec
from streamflow.codecs.avro_check import BadRow, conform
from streamflow.codecs.avro_shape import column_name
from streamflow.codecs.avrocodec import record_node
from streamflow.codecs.bytescodec import BytesReader, BytesWriter
from streamflow.codecs.decoding import Errors, ValueReader
from streamflow.codecs.encoding import ValueWriter
from streamflow.codecs.envelope_encode import nullable_bytes
from streamflow.codecs.json_check import bad_column, bad_texts, parse_error
from streamflow.codecs.json_read import fields_from_json
from streamflow.codecs.json_write import json_texts, unsayable
from streamflow.codecs.pieces import Piece
from streamflow.model.types import PAYLOAD, Schema


def json_reader(schema: Schema) -> ValueReader:
    """The reader of untyped or typed JSON values."""
    return RecordReader(schema) if schema.kind == "record" else AnyReader(schema)


def json_writer(schema: Schema) -> ValueWriter:
    """The writer of untyped or typed JSON values."""
    return RecordWriter(schema) if schema.kind == "record" else AnyWriter(schema)


class AnyReader(BytesReader):
    """JSON text as it is, once it is known to be JSON: bad bytes must be found at the source, not where they are
    used.
    """

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        frame, _ = super().finish(raw, prefix)
        return frame, bad_column(frame[PAYLOAD])

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        errors = bad_texts(values)
        return super().values([v for i, v in enumerate(values) if i not in errors], prefix)[0], errors


class RecordReader(BytesReader):
    """JSON objects as columns. Unknown fields are ignored; a value of another type than its field makes the row bad."""

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        payload, errors = self._columns(raw[column_name(0)].to_list())
        return pl.DataFrame([*payload, *(raw[c] for c in raw.columns if c.startswith("@"))]), errors

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        payload, errors = self._columns(values)
        if errors and payload.width:
            keep = np.ones(len(values), np.bool_)
            keep[list(errors)] = False
            payload = payload.filter(pl.Series(keep))
        return payload, errors

    def _columns(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, dict[int, tuple[BadCode, str]]]:
        """All rows, also the bad ones, which hold nulls."""
        errors: dict[int, tuple[BadCode, str]] = {}
        parsed: list[Any]
        try:
            parsed = list(map(orjson.loads, values))
        except orjson.JSONDecodeError:
            errors = {i: ("undecodable", why) for i, value in enumerate(values) if (why := parse_error(value))}
            parsed = [None if i in errors else orjson.loads(value) for i, value in enumerate(values)]
        columns, problems = fields_from_json(parsed, self.schema)
        for i, message in problems.items():
            errors.setdefault(i, ("schema_mismatch", message))
        return pl.DataFrame(columns), errors


class AnyWriter(BytesWriter):
    """JSON texts as they are: whoever made the item made the text."""


class RecordWriter:
    """A `ValueWriter` (see `encoding`) of one JSON object a row, in the forms of `json_write`."""

    opaque = True

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._node = record_node(CodecSpec(format="json", schema=schema))

    def conform(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow]]:
        frame, bad = conform(frame, self._node)
        known = {b.row for b in bad}
        more = [b for b in unsayable(frame, self._schema) if b.row not in known]
        return frame, sorted([*bad, *more], key=lambda b: b.row)

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        return nullable_bytes(json_texts(frame, self._schema))

    def few(self, frame: pl.DataFrame) -> list[bytes | None]:
        return json_texts(frame, self._schema).to_list()
