"""JSON lines: one item a line."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl

from streamflow.connectors.files.blocks import Piece, RecordBlocks
from streamflow.connectors.files.formats import FileKind, open_file
from streamflow.connectors.files.reader import Chunk
from streamflow.model.types import PAYLOAD, Schema
from streamflow.operators.typed_json import typed_items


class JsonLinesReader:
    """Rows of one file of JSON lines: untyped, or items of a record schema. Blank lines are no items."""

    def __init__(self, path: Path, kind: FileKind, schema: Schema, position: int) -> None:
        self._path, self._schema = path, schema
        self._blocks = RecordBlocks(open_file(path, kind), path, position, quoted=False)

    @property
    def position(self) -> int:
        return self._blocks.offset

    @property
    def done(self) -> bool:
        return self._blocks.done

    def close(self) -> None:
        self._blocks.close()

    def read(self, rows_max: int) -> Chunk:
        lines = _lines(self._blocks.take(rows_max))
        items = pl.Series(PAYLOAD, lines, dtype=pl.Binary)
        bad: list[tuple[bytes, str, str]] = []
        if self._schema.kind == "any":
            if wrong := [at for at, line in enumerate(lines) if not _is_json(line)]:
                bad = [(lines[at], "undecodable", f"{self._path}: the line is no JSON") for at in wrong]
                items = items.filter(~pl.Series(range(len(lines))).is_in(wrong))
            return Chunk(items.to_frame(), tuple(bad))
        frame, failures = typed_items(items, self._schema)
        if failures:
            bad = [(lines[at], code, f"{self._path}: {why}") for at, (code, why) in failures.items()]
        return Chunk(frame, tuple(bad))


def _lines(piece: Piece) -> list[bytes]:
    return [stripped for line in piece.data.split(b"\n") if (stripped := line.strip())]


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
