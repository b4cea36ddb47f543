"""Values as they are: the whole value in column `@item`."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from streamflow.codecs.avro_check import BadRow
from streamflow.codecs.avro_shape import column_name
from streamflow.codecs.avronodes import Node
from streamflow.codecs.decoding import Errors
from streamflow.codecs.envelope_columns import OPAQUE
from streamflow.codecs.envelope_encode import nullable_bytes
from streamflow.codecs.pieces import Piece
from streamflow.model.types import BYTES, PAYLOAD, Schema


class BytesReader:
    """A `ValueReader` (see `decoding`) that looks into nothing."""

    prefix_size = 0

    def __init__(self, schema: Schema = BYTES) -> None:
        self.schema = schema

    def null_item(self) -> bool:
        return self.schema.nullable

    def prefix(self, value: bytes) -> bytes:
        return b""

    def native(self, prefix: bytes) -> Node | None:
        return OPAQUE

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        return raw.rename({column_name(0): PAYLOAD}), {}

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        return pl.DataFrame({PAYLOAD: pl.Series(values, dtype=pl.Binary)}), {}


class BytesWriter:
    """A `ValueWriter` (see `encoding`) of column `@item`; null is a record without value where the schema has null."""

    opaque = True

    def __init__(self, schema: Schema = BYTES) -> None:
        self._schema = schema

    def conform(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow]]:
        frame = with_payload(frame)
        if self._schema.nullable or not frame[PAYLOAD].null_count():
            return frame, []
        rows = frame[PAYLOAD].is_null().arg_true().to_list()
        return frame, [BadRow(row, "null_value", "the item is null, and its schema has no null.") for row in rows]

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        return nullable_bytes(frame[PAYLOAD])

    def few(self, frame: pl.DataFrame) -> list[bytes | None]:
        return frame[PAYLOAD].to_list()


def with_payload(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `@item` as bytes; absent is null."""
    if PAYLOAD not in frame.columns:
        return frame.with_columns(pl.lit(None, dtype=pl.Binary).alias(PAYLOAD))
    return frame if frame.schema[PAYLOAD] == pl.Binary else frame.with_columns(pl.col(PAYLOAD).cast(pl.Binary))
