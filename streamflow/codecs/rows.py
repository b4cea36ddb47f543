"""Rows of a frame as single Avro values, and back: what state stores keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from streamflow.codecs.avro_check import conform
from streamflow.codecs.avro_fallback import decode_values
from streamflow.codecs.avro_pieces import pieces_of
from streamflow.codecs.avronodes import parse
from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.codecs.pieces import assemble, per_row, total_size
from streamflow.model.types import Schema
from streamflow.sdk.errors import CodecError


class RowCodec:
    """Avro values of one record schema, without framing: who reads a value knows its schema."""

    def __init__(self, schema: Schema, *, name: str = "Row") -> None:
        self.avro = schema_to_avro(schema, name=name)
        self._node = parse(self.avro, what=name)

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One value a row. Raises CodecError for a row that the schema cannot hold."""
        if not frame.height:
            return []
        frame, bad = conform(frame, self._node)
        if bad:
            raise CodecError(f"row {bad[0].row} cannot be kept: {bad[0].message}")
        pieces = [p for name, n in self._node.fields for p in pieces_of(frame[name], n)]
        data = assemble(pieces, frame.height).tobytes()
        ends = np.cumsum(per_row(total_size(pieces), frame.height)).tolist()
        return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """The rows of these values, in order. Raises CodecError for bytes that are none."""
        found = decode_values(values, self._node)
        if found.errors:
            at, why = next(iter(found.errors.items()))
            raise CodecError(f"value {at} is no row of this schema: {why}.")
        return found.frame
