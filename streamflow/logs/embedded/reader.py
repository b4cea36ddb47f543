"""Reading record batches, from segments and from the journal's tail. No locks; nothing here changes a file.

Sequential reading costs no search: the place behind the last batch read is remembered per segment and offset.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from streamflow.codecs.recordbatch import HEADER_SIZE, open_batch, parse_header
from streamflow.logs.embedded.catalog import Segment, TailBatch
from streamflow.logs.embedded.files import Handle, read_at
from streamflow.logs.embedded.frame import is_sealed
from streamflow.logs.embedded.index import Index, read_index
from streamflow.logs.embedded.journal import Journal
from streamflow.logs.embedded.segments import index_path, log_path
from streamflow.sdk.errors import LogCorrupt
from streamflow.sdk.log import RecordBatch

_FILES_MAX = 256
_CURSORS_MAX = 4096
_SCAN_BYTES = 128 << 10


class DamagedError(Exception):
    """A record batch in `path` at `position` fails its check. `base` is its offset as far as it is known."""

    def __init__(self, path: Path, position: int, segment: Segment | None) -> None:
        self.path, self.position, self.segment = path, position, segment
        super().__init__(f"{path}: record batch at byte {position} fails its check")


class Found(NamedTuple):
    """Where a record batch stands in a segment."""

    base: int
    last: int
    position: int
    max_timestamp_ms: int


class Reader:
    """Open files and remembered places, both bounded. Used by any thread; each operation is safe on its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, _OpenSegment] = OrderedDict()
        self._cursors: OrderedDict[tuple[Path, int], int] = OrderedDict()

    def close(self) -> None:
        with self._lock:
            self._files.clear()
            self._cursors.clear()

    def forget(self, path: Path) -> None:
        """Drop what is remembered of a segment, because it was mended."""
        with self._lock:
            self._files.pop(path, None)

    def read_tail(self, batches: Sequence[TailBatch], journal: Journal, size_bytes_max: int) -> list[RecordBatch]:
        """The first of `batches`, at least one, up to `size_bytes_max`. Raises DamagedError."""
        out: list[RecordBatch] = []
        total = 0
        for batch in batches:
            total += batch.size_bytes
            if out and total > size_bytes_max:
                break
            data = read_at(journal.fd, batch.position, batch.size_bytes)
            opened = _open(data, 0) if len(data) == batch.size_bytes else None
            if opened is None or opened.base_offset != batch.base or opened.last_offset != batch.last:
                raise DamagedError(journal.path, batch.position, None)
            out.append(opened)
        return out

    def read_segments(
        self, folder: Path, segments: Sequence[Segment], offset: int, size_bytes_max: int
    ) -> list[RecordBatch]:
        """Batches of one segment from `offset` on; none if no segment holds offsets >= `offset`.

        Raises DamagedError, FileNotFoundError (the segment was removed since the list was made).
        """
        for segment in segments[bisect_right(segments, offset, key=lambda s: s.end) :]:
            out = self._read_segment(folder, segment, offset, size_bytes_max)
            if out:
                return out
        return []

    def _read_segment(self, folder: Path, segment: Segment, offset: int, size_bytes_max: int) -> list[RecordBatch]:
        path = log_path(folder, segment)
        position = self._cursor(path, offset)
        if position is None:
            found = next((b for b in self.scan(folder, segment, offset=offset) if b.last >= offset), None)
            if found is None:
                return []
            position = found.position
        handle = self._file(folder, segment).handle
        want = min(max(size_bytes_max, _SCAN_BYTES), segment.size_bytes - position)
        data = read_at(handle.fd, position, want)
        out: list[RecordBatch] = []
        at = 0
        expected = segment.base if position == 0 else -1
        while position + at < segment.size_bytes:
            if out and len(data) - at < HEADER_SIZE:
                break
            if not is_sealed(data, at):
                raise DamagedError(path, position + at, segment)
            size = parse_header(data, at).size_bytes
            if out and at + size > min(size_bytes_max, len(data)):
                break
            if at + size > len(data):
                data = read_at(handle.fd, position, size)  # one batch larger than what was asked for
                if len(data) < size:
                    raise DamagedError(path, position, segment)
            batch = _open(data, at)
            if batch is None or (expected >= 0 and batch.base_offset < expected):
                raise DamagedError(path, position + at, segment)
            out.append(batch)
            expected = batch.last_offset + 1
            at += size
        if out and position + at < segment.size_bytes:
            self._remember(path, out[-1].last_offset + 1, position + at)
        return out

    def scan(self, folder: Path, segment: Segment, *, offset: int = -1, time_ms: int | None = None) -> Iterator[Found]:
        """Headers of a segment's batches, from a place at or before `offset` or the first record at `time_ms`.

        Raises DamagedError, FileNotFoundError.
        """
        file = self._file(folder, segment)
        index = file.index(folder, segment)
        position = index.position_of(offset) if time_ms is None else index.position_of_time(time_ms)
        return _headers(file.path, file.handle, segment, position)

    def _file(self, folder: Path, segment: Segment) -> _OpenSegment:
        path = log_path(folder, segment)
        with self._lock:
            known = self._files.get(path)
            if known is None:
                known = self._files[path] = _OpenSegment(path)
                if len(self._files) > _FILES_MAX:
                    self._files.popitem(last=False)
            else:
                self._files.move_to_end(path)
        return known

    def _cursor(self, path: Path, offset: int) -> int | None:
        with self._lock:
            return self._cursors.get((path, offset))

    def _remember(self, path: Path, offset: int, position: int) -> None:
        with self._lock:
            self._cursors[path, offset] = position
            if len(self._cursors) > _CURSORS_MAX:
                self._cursors.popitem(last=False)


class _OpenSegment:
    """An open segment file; its index is read when it is first needed, and again when the segment has grown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = Handle(path, os.O_RDONLY)
        self._index: tuple[int, Index] | None = None

    def index(self, folder: Path, segment: Segment) -> Index:
        known = self._index
        if known is None or known[0] < segment.size_bytes:
            index = read_index(index_path(folder, segment))
            if index is None:
                index = Index()
                for found in _headers(self.path, self.handle, segment, 0):
                    index.add(found.base, found.position, found.max_timestamp_ms)
            known = self._index = segment.size_bytes, index
        return known[1]


def _open(data: bytes, at: int) -> RecordBatch | None:
    """The record batch at `at`, or None if it is damaged."""
    if not is_sealed(data, at):
        return None
    try:
        return open_batch(data, at)
    except LogCorrupt:
        return None


def _headers(path: Path, handle: Handle, segment: Segment, position: int) -> Iterator[Found]:
    data, start = b"", position
    while position < segment.size_bytes:
        at = position - start
        if len(data) - at < HEADER_SIZE:
            start, at = position, 0
            data = read_at(handle.fd, position, min(_SCAN_BYTES, segment.size_bytes - position))
        if not is_sealed(data, at):
            raise DamagedError(path, position, segment)
        header = parse_header(data, at)
        yield Found(header.base_offset, header.last_offset, position, header.max_timestamp_ms)
        position += header.size_bytes
