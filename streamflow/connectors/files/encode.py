"""Rows as bytes of a file format: whole records that can be cut anywhere between two of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import fastavro
import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs import CodecSpec
from streamflow.codecs.avrocodec import AvroWriter
from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.codecs.json_write import json_texts, unsayable
from streamflow.codecs.pieces import Piece, assemble, per_row, total_size
from streamflow.codecs.varints import varint
from streamflow.connectors.files.blocks import record_ends
from streamflow.connectors.files.formats import FileFormat
from streamflow.model.types import PAYLOAD, Schema

_LENGTH = struct.Struct(">Q")
Bad = dict[int, tuple[str, str]]  # row -> code, message


class Written(NamedTuple):
    """Encoded rows. `ends`: what the rows up to each one count against the size of a file, the same however they are
    cut into steps. `divisible`: they are where each row's bytes end, too.
    """

    data: bytes
    ends: npt.NDArray[np.int64]
    divisible: bool = True


class RowEncoder(Protocol):
    """Encodes for a staged file."""

    def head(self) -> bytes:
        """What a file starts with."""
        ...

    def bad(self, frame: pl.DataFrame) -> Bad:
        """Rows that the format cannot hold."""
        ...

    def rows(self, frame: pl.DataFrame) -> Written: ...

    def finish(self, staged: Path, size_bytes: int) -> Path:
        """The file that a staged one becomes: itself, or another one beside it that ends in `.sealed`."""
        ...


def row_encoder(kind: FileFormat, schema: Schema) -> RowEncoder:
    if kind == "jsonl":
        return JsonLines(schema)
    if kind == "csv":
        return Csv(schema)
    return Avro(schema) if kind == "avro" else Parquet(schema)


def _lines(lines: list[bytes]) -> Written:
    ends = np.cumsum(np.fromiter((len(line) + 1 for line in lines), np.int64, len(lines)))
    return Written(b"\n".join([*lines, b""]), ends)


class _AsStaged:
    """Formats whose staged file is the file."""

    def finish(self, staged: Path, size_bytes: int) -> Path:
        return staged


class JsonLines(_AsStaged):
    """One JSON text a line. Line breaks inside a JSON text are white space, so they become blanks."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def head(self) -> bytes:
        return b""

    def bad(self, frame: pl.DataFrame) -> Bad:
        if self._schema.kind != "record":
            return {}
        return {b.row: (str(b.code), b.message) for b in unsayable(frame, self._schema)}

    def rows(self, frame: pl.DataFrame) -> Written:
        if self._schema.kind == "record":
            return _lines(json_texts(frame, self._schema).to_list())
        texts = frame[PAYLOAD].fill_null(b"null").to_list()
        return _lines([t.replace(b"\r", b" ").replace(b"\n", b" ") for t in texts])


class Csv(_AsStaged):
    """RFC 4180 with `\\n`; times as ISO 8601, an empty cell for null and `""` for empty text."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def head(self) -> bytes:
        return pl.DataFrame(schema={f.name: pl.String() for f in self._schema.fields}).write_csv().encode()

    def bad(self, frame: pl.DataFrame) -> Bad:
        return {}

    def rows(self, frame: pl.DataFrame) -> Written:
        columns = []
        for field in self._schema.fields:
            column = pl.col(field.name)
            if field.type.kind in ("timestamp", "local"):
                column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.f") + ("Z" if field.type.kind == "timestamp" else "")
            elif field.type.kind == "any":
                column = column.cast(pl.String)
            columns.append(column)
        texts = frame.select(columns).write_csv(include_header=False).encode()
        lines = texts.split(b"\n")[:-1] if frame.height == texts.count(b"\n") else _records(texts)
        return _lines(lines)


def _records(text: bytes) -> list[bytes]:
    """Lines of CSV where quoted cells hold line breaks."""
    ends = [0, *record_ends(text, quoted=True).tolist()]
    return [text[a : b - 1] for a, b in pairwise(ends)]


class Avro(_AsStaged):
    """Container blocks. A block is cut out of the rows of one step, so its bounds mean nothing."""

    _SYNC = bytes(16)

    def __init__(self, schema: Schema) -> None:
        spec = CodecSpec(format="avro", schema=schema, name=schema.name or "Item")
        self._writer = AvroWriter(spec, None)
        avro = schema_to_avro(schema, name=spec.name)
        self._head = _container_head(avro)

    def head(self) -> bytes:
        return self._head

    def bad(self, frame: pl.DataFrame) -> Bad:
        return {b.row: (str(b.code), b.message) for b in self._writer.conform(frame)[1]}

    def rows(self, frame: pl.DataFrame) -> Written:
        pieces = self._pieces(frame)
        body = assemble(pieces, frame.height).tobytes()
        # Not where blocks end: these are cut by steps, and the size of a file must not depend on that.
        ends = np.cumsum(per_row(total_size(pieces), frame.height))
        return Written(b"".join((varint(frame.height), varint(len(body)), body, self._SYNC)), ends, divisible=False)

    def ends(self, frame: pl.DataFrame) -> npt.NDArray[np.int64]:
        """Where each row would end, one behind another."""
        return np.cumsum(per_row(total_size(self._pieces(frame)), frame.height))

    def _pieces(self, frame: pl.DataFrame) -> list[Piece]:
        return self._writer.pieces(self._writer.conform(frame)[0])


def _container_head(avro: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(avro), [], codec="null", sync_marker=Avro._SYNC)
    return buffer.getvalue()


class Parquet:
    """Staged as Arrow IPC pieces, each behind its length: the index of a Parquet file comes last. A row counts as many
    bytes as it would have in Avro.
    """

    def __init__(self, schema: Schema) -> None:
        self._sizes = Avro(schema)

    def head(self) -> bytes:
        return b""

    def bad(self, frame: pl.DataFrame) -> Bad:
        return {}

    def rows(self, frame: pl.DataFrame) -> Written:
        buffer = io.BytesIO()
        frame.write_ipc(buffer, compression="lz4")
        data = _LENGTH.pack(buffer.tell()) + buffer.getvalue()
        return Written(data, self._sizes.ends(frame), divisible=False)

    def finish(self, staged: Path, size_bytes: int) -> Path:
        whole = staged.with_suffix(".sealed")
        pl.concat(list(_pieces(staged, size_bytes))).write_parquet(whole)
        return whole


def _pieces(staged: Path, size_bytes: int) -> Iterator[pl.DataFrame]:
    with staged.open("rb") as stream:
        at = 0
        while at < size_bytes:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
            yield pl.read_ipc(io.BytesIO(stream.read(length)))
            at += _LENGTH.size + length
