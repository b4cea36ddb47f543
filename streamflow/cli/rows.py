"""What `send` reads: chunks of rows with the number of each line, so that a wrong row can be named.

JSON lines are read as they come, so that `… | streamflow send topic` sends while its input is still growing. Other
formats are read by the readers of the file trigger; of standard input they see a copy in a temporary file.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson
import polars as pl

from streamflow.connectors.files.blocks import record_ends
from streamflow.connectors.files.formats import FileKind, open_file
from streamflow.connectors.files.source import FileReads, open_reader
from streamflow.model.types import PAYLOAD
from streamflow.operators.typed_json import typed_items

if TYPE_CHECKING:
    from streamflow.model.types import Schema

CHUNK_BYTES = 4 << 20
ROWS_MAX = 20_000  # of a chunk
LINE_BYTES_MAX = 16 << 20  # far more than a record may have


@dataclass(slots=True)
class Rows:
    """A chunk: row i of `frame` stood on line (or was row) `numbers[i]`; `bad` are (number, what is wrong)."""

    frame: pl.DataFrame
    numbers: Sequence[int]
    bad: list[tuple[int, str]] = field(default_factory=list)


async def json_lines(stream: BinaryIO, schema: Schema) -> AsyncIterator[Rows]:
    """Chunks of whole lines, as soon as they are there. Blank lines are no rows."""
    rest, line = b"", 1
    skipping = False  # inside a line that is too long
    async for piece in _pieces(stream):
        last = not piece
        data = rest + piece
        end = len(data) if last else data.rfind(b"\n") + 1
        rest = data[end:]
        if data[:end]:
            lines = data[:end].split(b"\n")
            if data[end - 1 : end] == b"\n":
                lines.pop()
            numbered = list(enumerate(lines, line))
            line += len(lines)
            if skipping:
                numbered, skipping = numbered[1:], False
            for at in range(0, len(numbered), ROWS_MAX):
                yield _parsed(numbered[at : at + ROWS_MAX], schema)
        if len(rest) > LINE_BYTES_MAX:
            if not skipping:
                yield Rows(_nothing(schema), (), [(line, f"the line is longer than {LINE_BYTES_MAX:,} bytes")])
            rest, skipping = b"", True
        if last:
            return


def _parsed(numbered: Sequence[tuple[int, bytes]], schema: Schema) -> Rows:
    kept = [(number, text) for number, text in ((n, t.strip()) for n, t in numbered) if text]
    bad: list[tuple[int, str]] = []
    if schema.kind == "any":
        sound = []
        for number, text in kept:
            try:
                orjson.loads(text)
            except orjson.JSONDecodeError as error:
                bad.append((number, f"no JSON: {error.msg} at column {error.colno}"))
            else:
                sound.append((number, text))
        frame = pl.DataFrame({PAYLOAD: pl.Series([t for _, t in sound], dtype=pl.Binary)})
        return Rows(frame, [n for n, _ in sound], bad)
    frame, wrong = typed_items(pl.Series(PAYLOAD, [t for _, t in kept], dtype=pl.Binary), schema)
    bad = [(kept[at][0], f"{why.rstrip('.')} ({code})") for at, (code, why) in wrong.items()]
    return Rows(frame, [n for at, (n, _) in enumerate(kept) if at not in wrong], bad)


def _nothing(schema: Schema) -> pl.DataFrame:
    return _parsed([], schema).frame


async def _pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    """What the stream gives, up to CHUNK_BYTES at once; from a pipe as soon as something is there; b"" at the end."""
    descriptor = _waitable(stream)
    if descriptor is None:
        while piece := stream.read(CHUNK_BYTES):
            yield piece
        yield b""
        return
    while True:
        await _readable(descriptor)
        parts = [os.read(descriptor, CHUNK_BYTES)]
        size = len(parts[0])
        while parts[-1] and size < CHUNK_BYTES and select.select([descriptor], [], [], 0)[0]:
            parts.append(os.read(descriptor, CHUNK_BYTES))
            size += len(parts[-1])
        if size:
            yield b"".join(parts)
        if not parts[-1]:
            yield b""
            return


def _waitable(stream: BinaryIO) -> int | None:
    """The descriptor of a stream whose data may come later: a pipe, socket or terminal."""
    if stream is not sys.stdin.buffer:
        return None
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):
        return None
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor) else None


async def _readable(descriptor: int) -> None:
    """Wait on the event loop, so that Ctrl-C is heard."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def file_rows(path: Path, kind: FileKind, schema: Schema) -> AsyncIterator[Rows]:
    """Chunks of a CSV, Avro or Parquet file."""
    reads = FileReads(path=str(path), base_folder="", schema=schema, format=kind.format, per_file=False)
    reader = open_reader(path, reads, 0)
    lines = _Lines(path, kind) if kind.format == "csv" else None
    row = 1
    try:
        while not reader.done:
            start = reader.position
            chunk = reader.read(ROWS_MAX)
            messages = [f"{why.removeprefix(f'{path}: ').rstrip('.')} ({code})" for _, code, why in chunk.bad]
            if lines is not None:
                raws = [raw for raw, _, _ in chunk.bad]
                numbers, wrong = lines.numbers(start, reader.position, raws, chunk.frame.height)
            else:
                wrong = [row + at for at in range(len(messages))]
                numbers = list(range(row + len(wrong), row + len(wrong) + chunk.frame.height))
            row += chunk.frame.height + len(messages)
            yield Rows(chunk.frame, numbers, sorted(zip(wrong, messages, strict=True)))
    finally:
        reader.close()


class _Lines:
    """Finds the lines of a CSV file's records again: its reader tells what was wrong, not where."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        self._path, self._kind = path, kind
        self._at, self._line = 0, 1  # byte `at` is on this line

    def numbers(self, start: int, end: int, bad: Sequence[bytes], good: int) -> tuple[list[int], list[int]]:
        """Line numbers of the good and of the bad records between two bytes of the file."""
        with open_file(self._path, self._kind) as stream:
            stream.seek(self._at)
            left = start - self._at
            while left:
                skipped = stream.read(min(left, CHUNK_BYTES))
                self._line += skipped.count(b"\n")
                left -= len(skipped)
            data = stream.read(end - start)
        numbered = list(self._records(data))
        self._at = end
        wrong = []
        for raw in bad:
            found = next((i for i, (_, text) in enumerate(numbered) if text == raw), None)
            wrong.append(numbered.pop(found)[0] if found is not None else self._line)
        sound = [number for number, text in numbered if text]
        return (sound if len(sound) == good else [self._line] * good), wrong

    def _records(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        begin = 0
        ends = record_ends(data, quoted=True).tolist()
        if data and (not ends or ends[-1] < len(data)):
            ends.append(len(data))
        for end in ends:
            record = data[begin:end]
            yield self._line, record.rstrip(b"\r\n")
            self._line += record.count(b"\n")
            begin = end
