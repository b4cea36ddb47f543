"""The file sink: every committed item in exactly one file, exactly once.

Rows go behind the committed length of a staged file (`.<name>.staged`) as they come. The length that counts stands in
the store `parts`, in the same transaction as the input's position: bytes behind it are cut off after a crash or an
abort. When a part is full, or the task stops, the store says `sealed`; after that commit, and not before, the file
gets its name by an atomic rename. Recovery does what the store says and was not done yet, and removes what it does
not name.

    store entry            means
    part                   {number, size_bytes, rows}: the staged file that is being written
    sealed:<number>        {size_bytes}: a staged file that is whole and gets its name after the commit
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from streamflow.connectors.files.encode import RowEncoder, Written, row_encoder
from streamflow.connectors.files.formats import FileFormat
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


@dataclass(slots=True)
class _Part:
    """The staged file as the open transaction sees it."""

    number: int = 0
    size_bytes: int = 0
    rows: int = 0


class FileSink:
    """Operator and `Commits`. It keeps nothing in memory between calls: the store's overlay is its only memory."""

    def __init__(self, writes: FileWrites, partition: int) -> None:
        self._writes, self._partition = writes, partition
        self._encoder: RowEncoder = row_encoder(writes.format, writes.schema)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        batch, failed = without(batch, dict(sorted(self._encoder.bad(batch.payload()).items())))
        store = ctx.store("parts")
        part = self._load(store)
        rows = batch.payload()
        while rows.height:
            rows = rows.slice(self._write(store, part, rows))
        return Result(failed=failed, absorbed=len(batch))

    def prepare(self, ctx: Context) -> None:
        store = ctx.store("parts")
        for key, _ in list(store.scan(_SEALED, _SEALED_END)):
            if self._final(_number(key)).exists():
                store.delete(key)
        part = self._load(store)
        if part.size_bytes:
            _sync(self._staged(part.number))

    def committed(self, ctx: Context) -> None:
        store = ctx.store("parts")
        sealed = {_number(k): int(orjson.loads(v)["size_bytes"]) for k, v in store.scan(_SEALED, _SEALED_END)}
        for number, size_bytes in sealed.items():
            self._finish(number, size_bytes)
        part = self._load(store)
        for staged in self._folder.glob(f".{self._stem}-{self._partition}-*"):
            if staged != self._staged(part.number) or not part.size_bytes:
                staged.unlink()

    def closing(self, ctx: Context) -> None:
        store = ctx.store("parts")
        part = self._load(store)
        if part.rows:
            self._seal(store, part)

    def _write(self, store: StateStore, part: _Part, rows: pl.DataFrame) -> int:
        """Write the rows that the part still takes; returns how many."""
        writes = self._writes
        head = b"" if part.size_bytes else self._encoder.head()
        rows = rows.head(writes.rows_max - part.rows)
        written = self._encoder.rows(rows)
        count, data = self._fitting(part.size_bytes + len(head), rows.height, written)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Not appended: what an aborted transaction left behind the committed length is overwritten.
        with self._staged(part.number).open("r+b" if part.size_bytes else "wb") as stream:
            stream.truncate(part.size_bytes)
            stream.seek(part.size_bytes)
            stream.write(head + data)
        part.size_bytes += len(head) + len(data)
        part.rows += count
        if part.rows >= writes.rows_max or part.size_bytes >= writes.size_bytes_max:
            self._seal(store, part)
        else:
            self._save(store, part)
        return count

    def _fitting(self, start: int, count: int, written: Written) -> tuple[int, bytes]:
        """Rows up to the one that reaches the size, where the format can be cut between rows."""
        if written.ends is None:
            return count, written.data
        room = self._writes.size_bytes_max - start
        full = int(np.searchsorted(written.ends, room)) + 1
        if full >= count:
            return count, written.data
        return full, written.data[: int(written.ends[full - 1])]

    def _seal(self, store: StateStore, part: _Part) -> None:
        _sync(self._staged(part.number))
        store.put(_SEALED + b"%012d" % part.number, orjson.dumps({"size_bytes": part.size_bytes}))
        part.number, part.size_bytes, part.rows = part.number + 1, 0, 0
        self._save(store, part)

    def _finish(self, number: int, size_bytes: int) -> None:
        staged, final = self._staged(number), self._final(number)
        if not staged.exists():
            return  # got its name before
        with staged.open("r+b") as stream:
            stream.truncate(size_bytes)
            os.fsync(stream.fileno())
        self._encoder.finish(staged, size_bytes, final)
        _sync_folder(self._folder)

    def _load(self, store: StateStore) -> _Part:
        found = store.get(_PART)
        return _Part(**orjson.loads(found)) if found else _Part()

    def _save(self, store: StateStore, part: _Part) -> None:
        entry = {"number": part.number, "size_bytes": part.size_bytes, "rows": part.rows}
        store.put(_PART, orjson.dumps(entry))

    @property
    def _folder(self) -> Path:
        return self._writes.path.parent

    @property
    def _stem(self) -> str:
        return self._writes.path.name.removesuffix(self._suffix)

    @property
    def _suffix(self) -> str:
        return "".join(self._writes.path.suffixes[-1:])

    def _staged(self, number: int) -> Path:
        return self._folder / f".{self._stem}-{self._partition}-{number:06d}.staged"

    def _final(self, number: int) -> Path:
        return self._folder / f"{self._stem}-{self._partition}-{number:06d}{self._suffix}"


def _number(key: bytes) -> int:
    return int(key.removeprefix(_SEALED))


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
