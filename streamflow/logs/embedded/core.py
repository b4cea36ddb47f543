"""The shared heart of an open log: catalog, journal and head, kept in step with what other processes commit.

Threads: the writer thread changes the log while it holds the file lock; any thread may `follow`. Whoever changes the
catalog holds `state` for that moment, and nothing slow happens meanwhile but reading frames of other processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from streamflow.logs.embedded.catalog import Catalog
from streamflow.logs.embedded.files import no_space_is_log_full, write_all
from streamflow.logs.embedded.frame import HEADER_BYTES, Change, encode_header, size_of
from streamflow.logs.embedded.head import Head, HeadFile
from streamflow.logs.embedded.journal import Journal
from streamflow.logs.embedded.layout import FRAME_BYTES_MAX, Layout
from streamflow.logs.embedded.locks import CommitLock
from streamflow.logs.embedded.recovery import Loaded, apply_frames, load_beside_writers, load_locked
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import LogFull

_TEAR = os.environ.get("STREAMFLOW_CRASH_AT", "").startswith("torn-frame")


class Written(NamedTuple):
    """A frame that is in the journal and not yet published."""

    change: Change
    data_at: int
    seq: int
    chain: int
    end: int


class Core:
    """One opening of a log."""

    def __init__(self, layout: Layout, *, durable: bool, lock_timeout_ms: int) -> None:
        """Open the folder: make it if it is new, mend it if its last user died. Raises LogCorrupt, LogBusy."""
        self.layout = layout
        self.durable = durable
        self.state = threading.Lock()
        self.on_growth: Callable[[set[TopicPartition]], None] = lambda _: None
        self._lock_timeout_ms = lock_timeout_ms
        with no_space_is_log_full(layout.root):
            layout.make_folders()
            self._lock = CommitLock(layout.lock)
            self._lock.acquire(timeout_ms=lock_timeout_ms)
            try:
                self._head_file = HeadFile(layout.head)
                loaded = load_locked(layout, self._head_file, durable=durable)
            finally:
                self._lock.release()
        self.catalog: Catalog = loaded.catalog
        self.journal: Journal = loaded.journal
        self._generation = loaded.head.generation

    def close(self) -> None:
        self._head_file.close()

    def follow(self) -> None:
        """Take in what other processes committed. Costs next to nothing when there is nothing. Raises LogCorrupt."""
        if self._head_file.generation() == self._generation:
            return
        with self.state:
            head = self._head_file.read()
            if head is None or head.generation <= self._generation:
                return
            if head.journal != self.journal.first:
                grew = self._install(load_beside_writers(self.layout, self._head_file))
            else:
                catalog = self.catalog
                grew = apply_frames(catalog, self.journal, head.end, seq=catalog.seq, chain=catalog.chain)
                self._generation = head.generation
        self.on_growth(grew)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log: nobody else changes it, and the catalog is up to date. Raises LogBusy, LogCorrupt, LogFull."""
        self._lock.acquire(timeout_ms=self._lock_timeout_ms)
        try:
            self.follow()
            if self.journal.size_bytes() != self.catalog.position:  # someone died while writing
                with self.state, no_space_is_log_full(self.layout.root):
                    grew = self._install(load_locked(self.layout, self._head_file, durable=self.durable))
                self.on_growth(grew)
            yield
        finally:
            self._lock.release()

    def write_frame(self, change: Change, data: Sequence[bytes | memoryview], after: Written | None) -> Written:
        """Append a frame behind `after` (None: behind what is published). Raises LogFull; then nothing was added."""
        catalog = self.catalog
        at = after or Written(change, 0, catalog.seq, catalog.chain, catalog.position)
        position, seq, chain = at.end, at.seq, at.chain
        data_bytes = size_of(change.batches)
        meta = change.encode()
        size = HEADER_BYTES + len(meta) + data_bytes
        if size > FRAME_BYTES_MAX:
            raise LogFull(
                f"a transaction of {size} bytes is larger than a commit may be ({FRAME_BYTES_MAX} bytes).",
                mend="Commit more often.",
            )
        header, crc = encode_header(seq=seq + 1, previous=chain, meta=meta, data_bytes=data_bytes, salt=catalog.salt)
        crash_point("before-frame")
        try:
            with no_space_is_log_full(self.journal.path):
                if _TEAR:
                    whole = b"".join((header, meta, *data))
                    write_all(self.journal.fd, [whole[: size // 2]], position)
                    crash_point("torn-frame")
                write_all(self.journal.fd, [header, meta, *data], position)
        except BaseException:
            os.ftruncate(self.journal.fd, position)
            raise
        return Written(change, position + HEADER_BYTES + len(meta), seq + 1, crc, position + size)

    def take_back(self) -> None:
        """Remove written frames that were not published."""
        os.ftruncate(self.journal.fd, self.catalog.position)

    def publish(self, frames: Sequence[Written]) -> None:
        """Make written frames count: sync them if asked to, take them into the catalog, move the head."""
        if self.durable:
            with no_space_is_log_full(self.journal.path):
                os.fdatasync(self.journal.fd)
        for _ in frames:
            crash_point("after-frame")
        grew: set[TopicPartition] = set()
        with self.state:
            for frame in frames:
                grew |= self.catalog.apply(frame.change, data_at=frame.data_at, where=f"frame {frame.seq}")
                self.catalog.seq, self.catalog.chain, self.catalog.position = frame.seq, frame.chain, frame.end
            self._move_head()
        self.on_growth(grew)

    def switch_journal(self, journal: Journal, position: int) -> None:
        """Go on in a new, empty journal; the caller holds the lock and `state`."""
        self.journal = journal
        self.catalog.position = position
        self._move_head()

    def _move_head(self) -> None:
        catalog = self.catalog
        self._generation += 1
        head = Head(
            generation=self._generation,
            journal=self.journal.first,
            end=catalog.position,
            seq=catalog.seq,
            chain=catalog.chain,
        )
        self._head_file.write(head, durable=self.durable)

    def _install(self, loaded: Loaded) -> set[TopicPartition]:
        self.catalog, self.journal = loaded.catalog, loaded.journal
        self._generation = loaded.head.generation
        return {
            TopicPartition(t.info.name, n) for t in loaded.catalog.topics.values() for n in range(t.info.partitions)
        }
