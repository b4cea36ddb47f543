"""The file source: files in order of name, rows in order of the file, resumable after every row that was handed out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import polars as pl

from streamflow.connectors.files.avro import AvroReader
from streamflow.connectors.files.csv import CsvReader
from streamflow.connectors.files.formats import FileFormat, files_of, kind_of
from streamflow.connectors.files.jsonl import JsonLinesReader
from streamflow.connectors.files.parquet import ParquetReader
from streamflow.connectors.files.reader import Chunk, FileReader
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, KEY, TS, Batch
from streamflow.model.types import Schema, frame_schema
from streamflow.operators.errors import evaluate
from streamflow.operators.keys import key_bytes
from streamflow.operators.times import epoch_ms
from streamflow.sdk.errors import StateError, UsageError
from streamflow.sdk.expression import Projection
from streamflow.sdk.source import SourceBatch

_POSITION_FIELDS = {"file", "at", "skip", "began"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReads:
    """What to read and how."""

    path: str
    base_folder: str
    schema: Schema
    format: FileFormat | None = None
    null_values: tuple[str, ...] = ()
    header: bool = True
    per_file: bool = True  # each file is an execution; else each row
    projection: Projection | None = None  # of `key` and `time`, where given
    labels: Mapping[str, str] = field(default_factory=dict)
    pace: float | None = None  # data seconds per second; None is as fast as possible


@dataclass(slots=True)
class _Held:
    """Rows read but not handed out yet."""

    frame: pl.DataFrame
    bad: tuple[tuple[bytes, str, str], ...]
    start: int  # reader position of the chunk
    skip: int  # rows of the chunk that were handed out
    last: bool  # of its file


class FileSource:
    """Reads files as `FileReads` says. `clock` gives seconds; only a paced source looks at it."""

    def __init__(self, reads: FileReads, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads, self._clock = reads, clock
        self._files: Sequence[Path] = ()
        self._next = 0  # index of the file to open next
        self._path = ""
        self._taken = ""  # position behind everything that was handed out
        self._reader: FileReader | None = None
        self._held: _Held | None = None
        self._began = False
        self._skip = 0
        self._pace_start: tuple[float, int] | None = None  # clock and event time of the first row

    def open(self, position: str) -> None:
        self._taken = position
        self._files = files_of(self._reads.path, self._reads.base_folder)
        if not position:
            if not self._files:
                raise UsageError(
                    f"no file at {self._reads.path!r}.", mend=f"Looked in {self._reads.base_folder or '.'}."
                )
            return
        at = orjson.loads(position)
        if not isinstance(at, dict) or set(at) != _POSITION_FIELDS:
            raise StateError(f"{position!r} is no position of a file source.", mend="Reset the workflow's position.")
        names = [self._name(p) for p in self._files]
        self._next = sum(name < at["file"] for name in names)
        if self._next < len(names) and names[self._next] == at["file"]:
            self._open(int(at["at"]))
            self._skip, self._began = int(at["skip"]), bool(at["began"])

    def read(self, *, rows_max: int, timeout_ms: int) -> SourceBatch:
        if self._held is None and not self._read_chunk(rows_max):
            # Opened behind the last row, or only empty files were left: the position stays, or rows would come again.
            return SourceBatch(frame=self._empty(), position=self._taken, done=True)
        held = self._held
        assert held is not None
        count, wait_ms = self._due(held.frame)
        released, rest = held.frame.head(count), held.frame.slice(count)
        whole = not rest.height
        begins = ""
        if self._reads.per_file and released.height and not self._began:
            self._began, begins = True, self._path
        if whole:
            assert self._reader is not None
            self._held = None
            ends = held.last and self._began
            position = self._position(self._reader.position, 0)
            if held.last:
                self._close_file()
        else:
            ends = False
            held.frame, held.skip = rest, held.skip + count
            position = self._position(held.start, held.skip)
        self._taken = position
        return SourceBatch(
            frame=released,
            position=position,
            begins=begins,
            ends=ends and self._reads.per_file,
            done=whole and self._reader is None and self._next >= len(self._files),
            wait_ms=wait_ms,
            bad=held.bad if whole else (),
        )

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _name(self, path: Path) -> str:
        base = Path(self._reads.base_folder or ".")
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()

    def _open(self, position: int) -> None:
        path = self._files[self._next]
        self._next += 1
        self._path, self._began, self._skip = self._name(path), False, 0
        self._reader = open_reader(path, self._reads, position)

    def _close_file(self) -> None:
        self.close()
        self._began = False

    def _read_chunk(self, rows_max: int) -> bool:
        """Fill `_held`; False when nothing is left. Files without rows give nothing."""
        while True:
            if self._reader is not None and self._reader.done:
                self._close_file()
            if self._reader is None:
                if self._next >= len(self._files):
                    return False
                self._open(0)
                continue
            start = self._reader.position
            chunk = self._finished(self._reader.read(rows_max))
            skipped = min(self._skip, chunk.frame.height)
            self._skip -= skipped
            self._held = _Held(chunk.frame.slice(skipped), chunk.bad, start, skipped, self._reader.done)
            return True

    def _finished(self, chunk: Chunk) -> Chunk:
        """The chunk with `@key` and `@ts`; rows for which they cannot be told are bad."""
        projection = self._reads.projection
        if projection is None:
            return chunk
        batch, values, failed = evaluate(Batch(chunk.frame, self._reads.schema), projection, self._reads.labels)
        bad, columns = [*chunk.bad, *(_as_bad(failed.frame) if failed else ())], []
        frame = batch.frame
        if "key" in values.columns:
            columns.append(key_bytes(values["key"], projection.types["key"]).alias(KEY))
        if "time" in values.columns:
            columns.append(epoch_ms(values["time"], projection.types["time"]).alias(TS))
        frame = frame.with_columns(columns)
        if TS in frame.columns and frame[TS].null_count():
            untimed = frame.filter(pl.col(TS).is_null()).drop(KEY, TS, strict=False)
            said = pl.lit("null_value").alias(ERROR_CODE), pl.lit("time: the event time is null").alias(ERROR_MESSAGE)
            bad += _as_bad(untimed.with_columns(said))
            frame = frame.filter(pl.col(TS).is_not_null())
        return Chunk(frame, tuple(bad))

    def _due(self, frame: pl.DataFrame) -> tuple[int, int]:
        """(rows due now, ms until the next one) at the pace asked for."""
        pace = self._reads.pace
        if pace is None or not frame.height or TS not in frame.columns:
            return frame.height, 0
        now = self._clock()
        if self._pace_start is None:
            self._pace_start = (now, int(frame[TS][0]))
        started, first_ms = self._pace_start
        horizon = first_ms + (now - started) * 1000 * pace
        early = (frame[TS] > horizon).arg_max() if (frame[TS] > horizon).any() else None
        if early is None:
            return frame.height, 0
        return early, max(1, int((int(frame[TS][early]) - horizon) / pace) + 1)

    def _position(self, at: int, skip: int) -> str:
        return orjson.dumps({"file": self._path, "at": at, "skip": skip, "began": self._began}).decode()

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=frame_schema(self._reads.schema))


def open_reader(path: Path, reads: FileReads, position: int) -> FileReader:
    """The reader of a file's format, at a position."""
    kind = kind_of(path, reads.format)
    if kind.format == "jsonl":
        return JsonLinesReader(path, kind, reads.schema, position)
    if kind.format == "csv":
        return CsvReader(path, kind, reads.schema, position, null_values=reads.null_values, header=reads.header)
    if kind.format == "avro":
        return AvroReader(path, reads.schema, position)
    return ParquetReader(path, reads.schema, position)


def _as_bad(failed: pl.DataFrame) -> list[tuple[bytes, str, str]]:
    """Rows that decoded but have no key or time, as JSON text of what they hold."""
    items = failed.drop([c for c in failed.columns if c.startswith("@") and c != "@item"])
    if items.columns == ["@item"]:
        raw = items["@item"].to_list()
    else:
        raw = [line for line in items.write_ndjson().encode().split(b"\n") if line]
    return list(zip(raw, failed[ERROR_CODE].to_list(), failed[ERROR_MESSAGE].to_list(), strict=True))
