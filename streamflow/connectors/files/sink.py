"""The file sink: every committed item in exactly one file, exactly once.

Rows go behind the committed length of a staged file as they come. The length that counts stands in the store `parts`,
in the same transaction as the input's position: bytes behind it are cut off after a crash or an abort. When a part is
full, or the task stops, the store says `sealed`; after that commit, and not before, the file gets its name. Recovery
does what the store says and was not done yet, and removes what it does not name. `parts.py` says how files are named,
and why a writer that has lost its task does no harm.

    store entry            means
    part                   the staged file that is being written: see `Part`
    sealed:<number>        {name}: a hidden file that is whole and gets its name after the commit
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from streamflow.connectors.files.encode import RowEncoder, Written, row_encoder
from streamflow.connectors.files.formats import FileFormat
from streamflow.connectors.files.parts import Part, PartFiles, sync, writing
from streamflow.model.batch import Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import without
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

_PART, _SEALED, _SEALED_END = b"part", b"sealed:", b"sealed;"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWrites:
    """Where and how to write."""

    path: Path  # `out/orders.jsonl` makes `out/orders-<partition>-<number>.jsonl`
    format: FileFormat
    schema: Schema
    rows_max: int  # of a file
    size_bytes_max: int  # of a file before conversion; a file is closed by the row that reaches it


class FileSink:
    """Operator and `Commits`. The store's overlay is its only memory; `writer` tells its files from everybody's."""

    def __init__(self, writes: FileWrites, partition: int) -> None:
        self._writes, self._partition = writes, partition
        self._writer = secrets.token_hex(4)
        self._encoder: RowEncoder = row_encoder(writes.format, writes.schema)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        batch, failed = without(batch, dict(sorted(self._encoder.bad(batch.payload()).items())))
        store, files = ctx.store("parts"), self._files(ctx)
        rows = batch.payload()
        if rows.height:
            files.make_folder()
            part = self._mine(store, files)
            while rows.height:
                part, count = self._write(store, files, part, rows)
                rows = rows.slice(count)
        return Result(failed=failed, absorbed=len(batch))

    def prepare(self, ctx: Context) -> None:
        store, files = ctx.store("parts"), self._files(ctx)
        for key, sealed in list(_sealed(store, files).items()):
            if not sealed.exists():
                store.delete(_SEALED + b"%012d" % key)  # has its name
        part = Part.load(store.get(_PART))
        if part.size_bytes and part.writer == self._writer:
            sync(files.staged(part))

    def committed(self, ctx: Context) -> None:
        store, files = ctx.store("parts"), self._files(ctx)
        sealed = _sealed(store, files)
        for number, path in sealed.items():
            files.give_name(path, number)
        part = Part.load(store.get(_PART))
        files.sweep(part.tenure, {files.staged(part)} if part.size_bytes else ())

    def closing(self, ctx: Context) -> None:
        store, files = ctx.store("parts"), self._files(ctx)
        if Part.load(store.get(_PART)).rows:
            self._seal(store, files, self._mine(store, files))

    def _mine(self, store: StateStore, files: PartFiles) -> Part:
        """The part to write to, as a file that nobody else has."""
        part = Part.load(store.get(_PART))
        return part if part.writer == self._writer else files.adopt(part, self._writer)

    def _write(self, store: StateStore, files: PartFiles, part: Part, rows: pl.DataFrame) -> tuple[Part, int]:
        """Write the rows that the part still takes: the part that comes next, and how many rows."""
        writes = self._writes
        head = b"" if part.size_bytes else self._encoder.head()
        rows = rows.head(writes.rows_max - part.rows)
        written = self._encoder.rows(rows)
        count, data, counted = self._fitting(part.counted_bytes + len(head), rows, written)
        # Not appended: what an aborted transaction left behind the committed length is overwritten.
        with writing(files.staged(part), "r+b" if part.size_bytes else "wb") as stream:
            stream.truncate(part.size_bytes)
            stream.seek(part.size_bytes)
            stream.write(head + data)
        part = replace(
            part,
            rows=part.rows + count,
            size_bytes=part.size_bytes + len(head) + len(data),
            counted_bytes=part.counted_bytes + len(head) + counted,
        )
        if part.rows >= writes.rows_max or part.counted_bytes >= writes.size_bytes_max:
            return self._seal(store, files, part), count
        store.put(_PART, part.dump())
        return part, count

    def _fitting(self, start: int, rows: pl.DataFrame, written: Written) -> tuple[int, bytes, int]:
        """Rows up to the one that reaches the size: how many, their bytes, and what these count."""
        room = self._writes.size_bytes_max - start
        full = int(np.searchsorted(written.ends, room)) + 1
        if full >= rows.height:
            return rows.height, written.data, int(written.ends[-1])
        counted = int(written.ends[full - 1])
        if written.divisible:
            return full, written.data[:counted], counted
        return full, self._encoder.rows(rows.head(full)).data, counted

    def _seal(self, store: StateStore, files: PartFiles, part: Part) -> Part:
        """Make the part whole, durably; the next one."""
        staged = files.staged(part)
        with writing(staged, "r+b") as stream:
            stream.truncate(part.size_bytes)
        # Before the commit, by one writer: two that convert after it would make two files of one part.
        whole = self._encoder.finish(staged, part.size_bytes)
        sync(whole)
        store.put(_SEALED + b"%012d" % part.number, orjson.dumps({"name": whole.name}))
        following = part.next()
        store.put(_PART, following.dump())
        return following

    def _files(self, ctx: Context) -> PartFiles:
        owner = hashlib.sha256(f"{ctx.workflow}\0{ctx.node}".encode()).hexdigest()[:8]
        return PartFiles(self._writes.path, self._partition, owner)


def _sealed(store: StateStore, files: PartFiles) -> dict[int, Path]:
    """Hidden files that are whole, by number."""
    return {
        int(key.removeprefix(_SEALED)): files.hidden(orjson.loads(value)["name"])
        for key, value in store.scan(_SEALED, _SEALED_END)
    }
