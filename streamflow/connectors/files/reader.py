"""What the reader of one file offers, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file. `bad` are (raw bytes, code, message) of records that do not decode."""

    frame: pl.DataFrame
    bad: tuple[tuple[bytes, str, str], ...] = ()


class FileReader(Protocol):
    """Reads one file from a position on."""

    @property
    def position(self) -> int:
        """Where the next row starts: a byte offset or a row number, as the format needs; 0 is the beginning."""
        ...

    @property
    def done(self) -> bool:
        """Nothing is left."""
        ...

    def read(self, rows_max: int) -> Chunk: ...

    def close(self) -> None: ...
