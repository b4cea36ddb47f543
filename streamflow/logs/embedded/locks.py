"""File locks: the log's own, held for the moments of a commit, and named ones, held while something runs.

`flock` belongs to an open file: it works between processes and between two openings in one process, and the kernel lets
go of it when the process dies. Threads that share an opening need a lock of their own beside it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from streamflow.logs.embedded.files import Handle
from streamflow.sdk.errors import LogBusy, UsageError

_PAUSE_S_MAX = 0.005


class CommitLock:
    """The log's lock. Asked for in short intervals, so that waiting for a stopped process has an end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = Handle(path, os.O_RDWR | os.O_CREAT)

    def acquire(self, *, timeout_ms: int) -> None:
        """Raises LogBusy."""
        deadline = time.monotonic() + timeout_ms / 1000
        pause_s = 0.0001
        while not _try_lock(self._handle.fd):
            if time.monotonic() >= deadline:
                raise LogBusy(
                    f"{self._path}: another process has held the log for {timeout_ms} ms.",
                    mend="Look for a stopped or hanging process that uses this log, and end or continue it.",
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    def release(self) -> None:
        fcntl.flock(self._handle.fd, fcntl.LOCK_UN)


@contextmanager
def named_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `name`, or raise LogBusy that tells who does."""
    file_name = quote(name, safe=" ")
    if not name or name in (".", "..") or len(file_name) > 250:
        raise UsageError(f"lock name {name!r} is empty or too long.", mend="Use 1 to 250 characters.")
    path = folder / file_name
    handle = Handle(path, os.O_RDWR | os.O_CREAT)
    if not _try_lock(handle.fd):
        pid = os.pread(handle.fd, 20, 0).decode(errors="replace").strip()
        raise LogBusy(
            f"{name!r} is already running here: process {pid or 'unknown'} holds {path}.",
            mend="Stop that process first, or use another log.",
        )
    try:
        os.ftruncate(handle.fd, 0)
        os.pwrite(handle.fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        fcntl.flock(handle.fd, fcntl.LOCK_UN)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
