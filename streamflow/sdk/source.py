"""Sources: triggers that are no topic. They hand out rows with a position that can be resumed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBatch:
    """Rows read, and where reading goes on.

    `frame`: payload columns of the source's schema, optional `@key` and `@ts`. Row order is the order of the source.
    `position`: where to read on, JSON text <= 4 KiB; committed together with the rows.
    `begins`: before its first row an execution begins. `ends`: after its last row it ends. Rows outside an execution
    are not allowed
    when the extent is run, file or request.
    `done`: nothing will follow (a bounded source).
    `wait_ms`: ask again not before this time has gone by (pace, or nothing there now).
    `bad`: (raw bytes, code, message) of records that do not decode; they go to the dead letter topic.
    """

    frame: pl.DataFrame
    position: str
    begins: str = ""  # name of the execution's source, such as the file; "" means none begins
    ends: bool = False
    done: bool = False
    wait_ms: int = 0
    bad: tuple[tuple[bytes, str, str], ...] = ()


class Source(Protocol):
    """A reader of something outside the log. Runs in a thread; blocking is fine, bounded by `timeout_ms`."""

    def open(self, position: str) -> None:
        """Start or resume; `position` is "" for the beginning."""
        ...

    def read(self, *, rows_max: int, timeout_ms: int) -> SourceBatch: ...

    def close(self) -> None: ...
