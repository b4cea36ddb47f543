"""Rows of a frame as Avro values, one by one or in blocks, and back: what state stores keep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from streamflow.codecs.avro_check import conform
from streamflow.codecs.avro_fallback import decode_joined, decode_values
from streamflow.codecs.avro_measure import Ints
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
        data, ends = self._encoded(frame)
        return [data[a:b] for a, b in pairwise([0, *ends.tolist()])]

    def encode_blocks(self, frame: pl.DataFrame, counts: Sequence[int]) -> list[bytes]:
        """All rows in blocks of `counts` rows each, none of them 0. Raises CodecError as `encode` does."""
        if not counts:
            return []
        data, ends = self._encoded(frame)
        cuts = [0, *ends[np.cumsum(counts) - 1].tolist()]
        return [count.to_bytes(4, "big") + data[a:b] for count, (a, b) in zip(counts, pairwise(cuts), strict=True)]

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """The rows of these values, in order. Raises CodecError for bytes that are none."""
        found = decode_values(values, self._node)
        if found.errors:
            at, why = next(iter(found.errors.items()))
            raise CodecError(f"value {at} is no row of this schema: {why}.")
        return found.frame

    def decode_blocks(self, blocks: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]]:
        """The rows of these blocks, in order, and how many each has. Raises CodecError for bytes that are none."""
        counts = [int.from_bytes(block[:4], "big") for block in blocks]
        try:
            return decode_joined(b"".join(block[4:] for block in blocks), sum(counts), self._node), counts
        except ValueError as error:
            raise CodecError(f"a block holds no rows of this schema: {error}.") from error

    def _encoded(self, frame: pl.DataFrame) -> tuple[bytes, Ints]:
        """The values back to back, and where each ends."""
        frame, bad = conform(frame, self._node)
        if bad:
            raise CodecError(f"row {bad[0].row} cannot be kept: {bad[0].message}")
        pieces = [p for name, n in self._node.fields for p in pieces_of(frame[name], n)]
        data = assemble(pieces, frame.height).tobytes()
        return data, np.cumsum(per_row(total_size(pieces), frame.height))
