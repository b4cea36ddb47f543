"""Writing bytes to files so that a full disk is one clear error and never half a write that counts.

Everything the log writes goes through here: short writes are continued, and "no space" in any of its spellings becomes
LogFull. Callers write behind the last committed position and cut back to it when a write fails.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streamflow.sdk.errors import LogFull

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IOV_MAX = 512  # below every platform's limit


class Handle:
    """An open file that is closed when nobody uses it any more: a thread may still read what another has given up."""

    def __init__(self, path: Path, flags: int) -> None:
        self.fd = -1
        self.fd = os.open(path, flags | os.O_CLOEXEC, 0o644)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def no_space_is_log_full(path: Path) -> Iterator[None]:
    """Turn "no space left" into LogFull; every other OSError passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise LogFull(
            f"{path}: no space to write ({error.strerror}); what was committed before is safe.",
            mend="Free space on this file system, or delete topics or records, then try again.",
        ) from error


def write_all(fd: int, buffers: Sequence[bytes | memoryview], position: int) -> None:
    """Write `buffers` one after the other at `position`; all of them or an OSError."""
    left = [memoryview(b) for b in buffers if len(b)]
    while left:
        written = os.pwritev(fd, left[:_IOV_MAX], position)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        position += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def read_at(fd: int, position: int, size_bytes: int) -> bytes:
    """Up to `size_bytes` at `position`; fewer only at the end of the file."""
    data = os.pread(fd, size_bytes, position)
    if len(data) == size_bytes or not data:
        return data
    parts = [data]
    have = len(data)
    while have < size_bytes:
        data = os.pread(fd, size_bytes - have, position + have)
        if not data:
            break
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def copy_range(source: int, source_at: int, target: int, target_at: int, size_bytes: int) -> None:
    """Copy bytes between files, inside the kernel where it can; all of them or an OSError."""
    while size_bytes:
        try:
            copied = os.copy_file_range(source, target, size_bytes, source_at, target_at)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            copied = 0
        if copied == 0:  # not supported here, or the source ends early
            data = os.pread(source, min(size_bytes, 1 << 20), source_at)
            if not data:
                raise OSError(errno.EIO, f"file ends {size_bytes} bytes early")
            write_all(target, [data], target_at)
            copied = len(data)
        source_at, target_at, size_bytes = source_at + copied, target_at + copied, size_bytes - copied


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Put `data` at `path` in one step: readers see the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(fd, [data], 0)
        if durable:
            os.fsync(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` (created, renamed) survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
