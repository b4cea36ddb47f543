"""Parquet: row ranges by polars, which reads only the row groups it needs."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from streamflow.connectors.files.infer import to_schema
from streamflow.connectors.files.reader import Chunk
from streamflow.model.types import Schema


class ParquetReader:
    """Rows of one Parquet file; the position is a row number."""

    def __init__(self, path: Path, schema: Schema, position: int) -> None:
        self._scan = pl.scan_parquet(path, glob=False)
        self._schema = schema
        self._rows = int(self._scan.select(pl.len()).collect().item())
        self.position = position
        self._path = path

    @property
    def done(self) -> bool:
        return self.position >= self._rows

    def read(self, rows_max: int) -> Chunk:
        frame = self._scan.slice(self.position, rows_max).collect()
        self.position += frame.height
        return Chunk(to_schema(frame, self._schema, self._path))

    def close(self) -> None:
        """Nothing stays open between reads."""
