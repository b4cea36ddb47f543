"""The RocksDB of one task: its folder, who may use it, and what it is a copy of.

closed ──open──▶ open ──an error of the database──▶ broken ──mend──▶ open, and empty
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBufferManager

from streamflow.sdk.errors import StateBroken, StateBusy, StateError
from streamflow.sdk.events import Logger

_log = Logger(__name__)
_BINDING: Final = b"\xffbinding"  # behind the keys of all stores
CACHE_BYTES: Final = 64 << 20  # blocks, indexes and filters of all databases of this process
WRITE_BYTES: Final = 64 << 20  # what they hold of late writes, all together
_WAL_BYTES_MAX = 64 << 20  # what is read again when a database is opened
_BLOCK_BYTES = 8 << 10
_FILES_OPEN_MAX = 128


class Opened(Protocol):
    """A store that lives in a folder."""

    def opened(self) -> None: ...


class RocksFolder:
    """One database, locked while it is open. What does not belong here or cannot be read is thrown away: it is a copy.

    `binding`: what it is a copy of. A database that was made for something else is none.
    """

    def __init__(self, path: Path, binding: bytes) -> None:
        self.path, self._binding = path, binding
        self.stores: list[Opened] = []
        self.broken = ""  # what was wrong with it
        self._db: Rdict | None = None
        self._lock: int | None = None
        self._moving = threading.RLock()  # a task may be dropped while a thread opens its database

    def open(self) -> None:
        """Open the database, or begin a new one where there is none that belongs here.

        Raises:
            StateBusy: another process, or another task of this one, has it open.
            StateError: there can be no database here.
        """
        with self._moving:
            self._acquire()
            try:
                why = self._open_old()
                if why is not None:
                    self._renew(why)
                self._tell()
            except BaseException:
                self.close()
                raise

    def discard(self, why: str) -> None:
        """Begin a new database in the place of this one."""
        with self._moving:
            self._close_db()
            self._renew(why)
            self._tell()

    def mend(self) -> None:
        """Begin anew where an error was met."""
        if self.broken:
            self.discard(self.broken)

    def close(self) -> None:
        """Close the database and let others have it; harmless when it is not open."""
        with self._moving:
            self._close_db()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @contextlib.contextmanager
    def working(self) -> Iterator[Rdict]:
        """The database. Raises StateBroken for whatever is wrong with it, StateError where it is not open."""
        if self._db is None:
            raise StateError(f"state in {self.path} is not open.")
        try:
            yield self._db
        except GeneratorExit:
            raise
        except Exception as error:  # the database's errors have no class of their own
            if isinstance(error, StateError):
                raise
            if _is_full(error):
                raise StateError(
                    f"state in {self.path}: no space left.", mend="Make room, or move --state-dir."
                ) from error
            self.broken = str(error)
            raise StateBroken(f"state in {self.path} cannot be used: {error}") from error

    def _acquire(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise StateError(
                f"state cannot be kept in {self.path}: {error.strerror}.", mend="Set --state-dir."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise StateBusy(
                f"state in {self.path} is in use by process {pid or 'unknown'}.",
                mend="Stop that process first, or give this one a --state-dir of its own.",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _open_old(self) -> str | None:
        """Open what is there. A sentence where it is of no use; empty where nothing is there."""
        if not any(self.path.iterdir()):
            return ""
        try:
            self._db = Rdict(str(self.path), options())
            found = self._db.get(_BINDING)
        except Exception as error:
            self._close_db()
            if "lock hold by current process" in str(error):
                raise StateBusy(f"state in {self.path} is in use within this process.") from error
            return str(error)
        if found == self._binding:
            return None
        self._close_db()
        return "it belongs to something else" if found is not None else "it was never finished"

    def _renew(self, why: str) -> None:
        if why:
            _log.warning("state_discarded", folder=str(self.path), why=why)
        try:
            for old in self.path.iterdir():
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
            self._db = Rdict(str(self.path), options())
            self._db.put(_BINDING, self._binding)
        except Exception as error:
            raise StateError(f"state cannot be kept in {self.path}: {error}", mend="Set --state-dir.") from error
        self.broken = ""

    def _tell(self) -> None:
        for store in self.stores:
            store.opened()

    def _close_db(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            db.close()


@cache
def _shared() -> tuple[Cache, WriteBufferManager]:
    """One bound for all databases of a process, however many tasks it has."""
    return Cache(CACHE_BYTES), WriteBufferManager(WRITE_BYTES, False)


def options() -> Options:
    """Settings of a database: memory is bounded for the process, and whatever is in it counts."""
    cache_, buffers = _shared()
    table = BlockBasedOptions()
    table.set_block_cache(cache_)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_block_size(_BLOCK_BYTES)
    table.set_bloom_filter(10, False)
    made = Options(raw_mode=True)
    made.create_if_missing(True)
    made.set_block_based_table_factory(table)
    made.set_write_buffer_manager(buffers)
    made.set_write_buffer_size(16 << 20)
    made.set_max_write_buffer_number(3)
    made.set_target_file_size_base(32 << 20)
    made.set_max_total_wal_size(_WAL_BYTES_MAX)
    made.set_compression_type(DBCompressionType.lz4())
    made.set_max_open_files(_FILES_OPEN_MAX)
    made.set_max_background_jobs(2)
    made.set_keep_log_file_num(1)
    made.set_max_log_file_size(1 << 20)
    made.set_stats_dump_period_sec(0)
    return made


def _is_full(error: Exception) -> bool:
    return os.strerror(errno.ENOSPC) in str(error)
