"""A state store on disk: the committed base in a task's RocksDB, the open transaction in an overlay in memory.

Keys of a database: two bytes of it belong to each of the task's stores. `2n` alone holds the changelog offset that the
store is at and when it was there, `2n + 1` begins its entries. Whatever changes the entries changes the offset with
it, in one batch or in one file: after a kill the store is at some commit, never between two.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from rocksdict import IngestExternalFileOptions, ReadOptions, SstFileWriter, WriteBatch

from streamflow.sdk.errors import StateError
from streamflow.state.overlay import OverlaidStore
from streamflow.state.reduced import Reduced
from streamflow.state.rocks_folder import RocksFolder, options

STORES_MAX: Final = 127
_AT = struct.Struct(">qq")  # changelog offset, when it was reached (ms since 1970)
_CAUGHT_UP_MS = 60_000
_FILE_ENTRIES_MIN = 20_000  # so many at once go past the write-ahead log, as a file that is sorted already


class RocksStore(OverlaidStore):
    """Implements `sdk.state.TransactionalStore`; open and close its folder, not the store."""

    __slots__ = ("_folder", "_head", "_offset_key", "_past", "as_of_ms")

    def __init__(self, name: str, folder: RocksFolder, number: int) -> None:
        """`number`: which of the stores of its task it is. Raises StateError for more than a database can hold."""
        super().__init__(name)
        if not 0 <= number < STORES_MAX:
            raise StateError(f"store {name!r} is number {number} of its task; {STORES_MAX} is the most there can be.")
        self._folder = folder
        self._offset_key, self._head, self._past = (bytes([2 * number + i]) for i in range(3))
        # When it was last known to hold all of its changelog; where it never was, when that was begun.
        self.as_of_ms = 0
        folder.stores.append(self)

    def opened(self) -> None:
        """The folder was opened, or begun anew: take the offset from it."""
        self.abort()
        with self._folder.working() as db:
            found = db.get(self._offset_key)
        self._changelog_offset, self.as_of_ms = (0, 0) if found is None else _AT.unpack(found)

    def caught_up(self, now_ms: int) -> None:
        """It holds all of its changelog at `now_ms`; written down where what is written is old."""
        if now_ms - self.as_of_ms >= _CAUGHT_UP_MS:
            self._write({}, self._changelog_offset, now_ms)

    def close(self) -> None:
        """Let the overlay go; the base is closed with its folder."""
        self.abort()

    def _base_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        head = self._head
        with self._folder.working() as db:
            return cast(list[bytes | None], db.get([head + key for key in keys]))

    def _base_scan(self, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(self._past if end is None else self._head + end)
        with self._folder.working() as db:
            here = db.iter(bounds)
            try:
                here.seek(self._head + first)
                while here.valid():
                    yield here.key()[1:], here.value()
                    here.next()
                here.status()  # whether that was the end, or a block that cannot be read
            finally:
                del here  # it would keep the database open

    def _base_apply(self, changes: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        self._write(changes, changelog_offset, _now_ms())

    def _write(self, changes: Mapping[bytes, bytes | None], changelog_offset: int, as_of_ms: int) -> None:
        head = self._head
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(head + key)
            else:
                batch.put(head + key, value)
        batch.put(self._offset_key, _AT.pack(changelog_offset, as_of_ms))
        with self._folder.working() as db:
            db.write(batch)
        self.as_of_ms = as_of_ms

    def _base_load(self, changes: Reduced, changelog_offset: int) -> None:
        keys, values = changes.keys.to_list(), changes.values.to_list()
        # It may be one part of several, and the others may not follow: the store is as old as it was, or as its first.
        as_of_ms = self.as_of_ms or _now_ms()
        if len(keys) < _FILE_ENTRIES_MIN:
            self._write(dict(zip(keys, values, strict=True)), changelog_offset, as_of_ms)
            return
        head, name = self._head, self._folder.path / "restored.sst"
        name.unlink(missing_ok=True)  # after a kill it may be another name of a table that is in use
        path = str(name)
        with self._folder.working() as db:
            file = SstFileWriter(options())
            file.open(path)
            file[self._offset_key] = _AT.pack(changelog_offset, as_of_ms)
            for key, value in zip(keys, values, strict=True):
                if value is None:
                    del file[head + key]
                else:
                    file[head + key] = value
            file.finish()
            moved = IngestExternalFileOptions()
            moved.set_move_files(True)
            db.ingest_external_file([path], moved)
        self.as_of_ms = as_of_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000  # how old a copy is: nothing that a row could depend on
