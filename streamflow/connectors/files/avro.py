"""Avro container files: block by block, so that memory is bounded by a block. The position is a row number."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import fastavro
import numpy as np
import polars as pl

from streamflow.codecs.avro_fallback import decode_each
from streamflow.codecs.avro_measure import measure
from streamflow.codecs.avro_shape import column_name, raise_frame, raw_columns
from streamflow.codecs.avronodes import Node, parse
from streamflow.codecs.containers import container, header_of
from streamflow.codecs.envelope_columns import NATIVE_ERRORS, tags_fit
from streamflow.codecs.evolution import Resolution
from streamflow.connectors.files.reader import Chunk
from streamflow.model.types import Schema, frame_schema
from streamflow.sdk.errors import CodecError, SchemaError


class AvroReader:
    """Rows of one Avro container file, read as another schema by Avro's rules where they differ."""

    def __init__(self, path: Path, schema: Schema, position: int) -> None:
        self._path, self._stream = path, path.open("rb")
        try:
            blocks = fastavro.block_reader(self._stream)
            self._node = parse(blocks.writer_schema, what=str(path))
            if self._node.kind != "record":
                raise CodecError(f"{path}: holds {self._node.type}, not records.")
            self._blocks = iter(blocks)
            self._resolution = Resolution(self._node.type, schema)
        except (ValueError, SchemaError, EOFError) as error:
            self._stream.close()
            raise CodecError(f"{path}: cannot be read as Avro: {error}") from error
        self._schema, self.position = schema, position
        self._rows: pl.DataFrame | None = None
        self._skip = position
        self._next_block()

    @property
    def done(self) -> bool:
        return self._rows is None

    def read(self, rows_max: int) -> Chunk:
        if self._rows is None:
            return Chunk(pl.DataFrame(schema=frame_schema(self._schema)))
        taken, rest = self._rows.head(rows_max), self._rows.slice(rows_max)
        start, self.position = self.position, self.position + taken.height
        self._rows = rest
        if not rest.height:
            self._next_block()
        frame, bad = self._resolution.apply(taken)
        if bad is None or not bad.any():
            return Chunk(frame)
        why = f"cannot be read by the schema: {self._resolution.why}"
        lost = [(b"", "schema_mismatch", f"{self._path}: row {start + at}: {why}") for at in bad.arg_true().to_list()]
        return Chunk(frame.filter(~bad), tuple(lost))

    def close(self) -> None:
        self._stream.close()

    def _next_block(self) -> None:
        self._rows = None
        for block in self._blocks:
            if self._skip >= block.num_records:
                self._skip -= block.num_records
                continue
            body: bytes = block.bytes_.getvalue()  # type: ignore[attr-defined]  # missing in its stub
            frame = decode_block(self._node, block.num_records, body, self._path)
            self._rows, self._skip = frame.slice(self._skip), 0
            return


def decode_block(node: Node, count: int, body: bytes, path: Path) -> pl.DataFrame:
    """Payload columns of one block; value by value where the columnar read does not account for every byte."""
    filled = [(i, n) for i, (_, n) in enumerate(node.fields) if not n.is_empty]
    if filled and all(n.is_columnar for _, n in node.fields):
        try:
            raw = pl.read_avro(io.BytesIO(container(header_of(raw_columns(node)), count, body)))
            parts = [measure(raw[column_name(i)], n) for i, n in filled]
            sizes = np.zeros(count, np.int64) + sum((p.size for p in parts), start=0)
            whole = raw.height == count and int(sizes.sum()) == len(body)
            if whole and tags_fit(parts, np.cumsum(sizes) - sizes, body):
                return raise_frame(node, raw)
        except NATIVE_ERRORS:
            pass  # not canonical, or damaged: the slow way tells which
    values = decode_each(_datums(node, count, body, path), node)
    if values.errors:
        raise CodecError(f"{path}: a block is damaged: {next(iter(values.errors.values()))}.")
    return values.frame


def _datums(node: Node, count: int, body: bytes, path: Path) -> list[bytes]:
    """The bytes of each value of a block."""
    schema = fastavro.parse_schema({"type": "record", "name": "Row", "fields": raw_columns(node)})
    stream, ends = io.BytesIO(body), [0]
    try:
        for _ in range(count):
            fastavro.schemaless_reader(stream, schema)
            ends.append(stream.tell())
    except (ValueError, EOFError, IndexError, StopIteration, MemoryError, OverflowError) as error:
        raise CodecError(f"{path}: a block is damaged: {error}") from error
    return [body[a:b] for a, b in pairwise(ends)]
