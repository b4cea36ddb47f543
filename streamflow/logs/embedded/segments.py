"""Segments: files of record batches, copied out of the journal at a checkpoint.

Only what a snapshot names counts: a file may be longer than its entry in the list (a checkpoint was interrupted), and
the next checkpoint writes over the rest. So copying is safe to repeat, and readers need no lock.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from streamflow.logs.embedded.catalog import Segment, TailBatch
from streamflow.logs.embedded.files import Handle, copy_range, write_all
from streamflow.logs.embedded.index import ENTRY_BYTES, Index, read_index

_INDEXES_MAX = 1024


def segment_name(base: int) -> str:
    return f"{base:020d}"


def log_path(folder: Path, segment: Segment) -> Path:
    return folder / f"{segment.name}.log"


def index_path(folder: Path, segment: Segment) -> Path:
    return folder / f"{segment.name}.index"


class SegmentWriter:
    """Appends journal batches to segments. Remembers the indexes of those it is writing."""

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._indexes: OrderedDict[Path, tuple[int, Index]] = OrderedDict()  # with the segment size they describe

    def append(
        self, folder: Path, segments: Sequence[Segment], batches: Sequence[TailBatch], journal: int, *, size_max: int
    ) -> tuple[Segment, ...]:
        """Copy `batches` from the journal's file descriptor behind `segments`; returns the new list.

        A segment that has reached `size_max` bytes is followed by a new one. Raises OSError; then nothing has changed
        that counts, and the call may be repeated.
        """
        folder.mkdir(parents=True, exist_ok=True)
        done = list(segments)
        at = 0
        while at < len(batches):
            if done and done[-1].size_bytes + batches[at].size_bytes <= size_max:
                target = done.pop()
            else:
                base = batches[at].base
                target = Segment(segment_name(base), base, base, 0, -1)
            take = at + 1
            size = target.size_bytes + batches[at].size_bytes
            while take < len(batches) and size + batches[take].size_bytes <= size_max:
                size += batches[take].size_bytes
                take += 1
            done.append(self._extend(folder, target, batches[at:take], journal))
            at = take
        return tuple(done)

    def _extend(self, folder: Path, segment: Segment, batches: Sequence[TailBatch], journal: int) -> Segment:
        path = log_path(folder, segment)
        index = self._index(folder, segment)
        entries = len(index.bases)
        handle = Handle(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(handle.fd, segment.size_bytes)
        position, latest = segment.size_bytes, segment.max_timestamp_ms
        run_at, run_bytes = batches[0].position, 0  # neighbours in the journal are copied in one go
        copied = position
        for batch in batches:
            if batch.position != run_at + run_bytes:
                copy_range(journal, run_at, handle.fd, copied, run_bytes)
                copied += run_bytes
                run_at, run_bytes = batch.position, 0
            index.add(batch.base, position, batch.max_timestamp_ms)
            run_bytes += batch.size_bytes
            position += batch.size_bytes
            latest = max(latest, batch.max_timestamp_ms)
        copy_range(journal, run_at, handle.fd, copied, run_bytes)
        self._write_index(folder, segment, index, entries)
        if self._durable:
            os.fsync(handle.fd)
        self._remember(path, position, index)
        return segment._replace(end=batches[-1].last + 1, size_bytes=position, max_timestamp_ms=latest)

    def _index(self, folder: Path, segment: Segment) -> Index:
        path = log_path(folder, segment)
        size_bytes, index = self._indexes.pop(path, (-1, None))
        if index is None or size_bytes != segment.size_bytes:
            index = (read_index(index_path(folder, segment)) if segment.size_bytes else None) or Index()
            index.cut(segment.size_bytes, segment.max_timestamp_ms)
        return index

    def _remember(self, path: Path, size_bytes: int, index: Index) -> None:
        self._indexes[path] = (size_bytes, index)
        if len(self._indexes) > _INDEXES_MAX:
            self._indexes.popitem(last=False)

    def _write_index(self, folder: Path, segment: Segment, index: Index, entries: int) -> None:
        handle = Handle(index_path(folder, segment), os.O_RDWR | os.O_CREAT)
        os.ftruncate(handle.fd, entries * ENTRY_BYTES)
        write_all(handle.fd, [index.encode(entries)], entries * ENTRY_BYTES)
