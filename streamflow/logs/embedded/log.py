"""EmbeddedLog: a log in a folder, for one machine, with no server (contract: `sdk.log.Log`; layout: `layout.py`)."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from streamflow.logs.embedded.catalog import Catalog, Partition, TailBatch
from streamflow.logs.embedded.compaction import compact
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.frame import Change
from streamflow.logs.embedded.journal import Journal
from streamflow.logs.embedded.layout import PARTITIONS_MAX, TRANSACTIONAL_ID_BYTES_MAX, Layout
from streamflow.logs.embedded.locks import named_lock
from streamflow.logs.embedded.producer import EmbeddedProducer, check_offsets
from streamflow.logs.embedded.reader import DamagedError, Reader
from streamflow.logs.embedded.repair import mend
from streamflow.logs.embedded.topics import check_spec
from streamflow.logs.embedded.waiters import Waiters
from streamflow.logs.embedded.writer import Ends, Job, Prepared, Writer
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogBusy, LogCorrupt, LogError, OffsetOutOfRange, TopicExists, UsageError
from streamflow.sdk.log import Compression, Producer, RecordBatch, TopicInfo, TopicSpec

_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.020  # how often to look for what other processes commit
_READ_TRIES_MAX = 5
_INLINE_BYTES_MAX = 128 << 10  # reading less than this is quicker than handing it to a thread
_T = TypeVar("_T")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """A log in a folder. Any number of processes may have it open at once; all operations are safe between them.

    Args:
        path: the folder; made when it does not exist.
        durability: `os` survives the death of the process, `fsync` also a power loss (each commit waits for the disk).
        compression: of record batches, where the topic's `compression.type` does not say.
        transaction_bytes_max: records of one transaction before compression, which wait in memory for the commit.
        journal_bytes_max: how large the journal grows before a checkpoint moves its batches to segments.
        lock_timeout_ms: how long a commit waits for other processes before LogBusy.
        clock: milliseconds since 1970, for retention.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Literal["os", "fsync"] = "os",
        compression: Compression = "lz4",
        transaction_bytes_max: int = 256 << 20,
        journal_bytes_max: int = 64 << 20,
        lock_timeout_ms: int = 30_000,
        clock: Callable[[], int] = _now_ms,
    ) -> None:
        if durability not in ("os", "fsync"):
            raise UsageError(f"durability is {durability!r}.", mend="Use 'os' or 'fsync'.")
        self._path = Path(path)
        self._durable = durability == "fsync"
        self._compression: Compression = compression
        self._transaction_bytes_max = transaction_bytes_max
        self._journal_bytes_max = journal_bytes_max
        self._lock_timeout_ms = lock_timeout_ms
        self._clock = clock
        self._layout = Layout(self._path)
        self._waiters = Waiters()
        self._reader = Reader()
        self._opened: tuple[Core, Writer] | None = None

    # Opening

    @property
    def address(self) -> str:
        return str(self._path)

    async def open(self) -> None:
        if self._opened is None:
            core = await asyncio.to_thread(
                Core, self._layout, durable=self._durable, lock_timeout_ms=self._lock_timeout_ms
            )
            core.on_growth = self._waiters.wake
            self._opened = core, Writer(core, journal_bytes_max=self._journal_bytes_max, clock=self._clock)

    async def close(self) -> None:
        if self._opened is not None:
            (core, writer), self._opened = self._opened, None
            await asyncio.to_thread(writer.close)
            core.close()
            self._reader.close()

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock `name` of this log, such as a workflow's. Raises LogBusy, naming the process that holds it."""
        self._layout.make_folders()
        return named_lock(self._layout.locks, name)

    # Topics

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        check_spec(spec)
        config = {str(k): str(v) for k, v in spec.config.items()}
        incarnation = uuid.uuid4().hex

        def prepare(catalog: Catalog, _: Ends) -> Prepared:
            if spec.name in catalog.topics:
                raise TopicExists(f"topic {spec.name!r} exists.", mend="Use it, or delete it first.")
            count = catalog.partition_count() + spec.partitions
            if count > PARTITIONS_MAX:
                raise UsageError(
                    f"topic {spec.name!r}: the log would have {count} partitions.",
                    mend=f"An embedded log holds {PARTITIONS_MAX}; delete topics or use Kafka.",
                )
            return Prepared(Change(created=[(spec.name, spec.partitions, incarnation, config)]))

        await self._change(prepare)
        return TopicInfo(name=spec.name, partitions=spec.partitions, incarnation=incarnation, config=config)

    async def delete_topic(self, name: str) -> None:
        core, _ = self._need()
        folders = []

        def prepare(catalog: Catalog, _: Ends) -> Prepared:
            folders.append(core.layout.topic(name, catalog.topic(name).info.incarnation))
            return Prepared(Change(deleted=[name]))

        await self._change(prepare)
        # Gives the space back at once. What is left, if this process dies here, the next checkpoint removes.
        await asyncio.to_thread(shutil.rmtree, folders[0], ignore_errors=True)
        with suppress(OSError):  # not empty: made again already
            folders[0].parent.rmdir()

    async def topics(self) -> Mapping[str, TopicInfo]:
        core = self._following()
        with core.state:
            return {name: topic.info for name, topic in core.catalog.topics.items()}

    # Reading

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        core = self._following()
        with core.state:
            partition = core.catalog.partition(at)
            return partition.start, partition.end

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        if min(size_bytes_max, self._readable_bytes(at, offset)) <= _INLINE_BYTES_MAX:
            return self._tried(at, lambda: self._read(at, offset, size_bytes_max))
        return await asyncio.to_thread(self._tried, at, lambda: self._read(at, offset, size_bytes_max))

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        return await asyncio.to_thread(self._tried, at, lambda: self._offset_for_time(at, timestamp_ms))

    async def wait(self, positions: Mapping[TopicPartition, int], *, timeout_ms: int) -> None:
        deadline = time.monotonic() + timeout_ms / 1000
        pause_s = _POLL_S_MIN
        with self._waiters.waiting(positions) as event:
            while True:
                event.clear()
                core = self._following()
                with core.state:
                    if any(core.catalog.partition(at).end > position for at, position in positions.items()):
                        return
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return
                try:
                    await asyncio.wait_for(event.wait(), min(pause_s, left_s))
                except TimeoutError:
                    pause_s = min(pause_s * 1.5, _POLL_S_MAX)

    # Writing

    async def producer(self, transactional_id: str) -> Producer:
        if not 0 < len(transactional_id.encode(errors="replace")) <= TRANSACTIONAL_ID_BYTES_MAX:
            raise UsageError(
                f"transactional id {transactional_id[:40]!r} is empty or too long.",
                mend=f"Use 1 to {TRANSACTIONAL_ID_BYTES_MAX} bytes.",
            )

        def prepare(catalog: Catalog, _: Ends) -> Prepared:
            # The frame's own number is the epoch: it only grows, even when an id was forgotten and comes back.
            return Prepared(Change(producers=[(transactional_id, catalog.seq + 1)]))

        change = await self._change(prepare)
        core, writer = self._need()
        return EmbeddedProducer(
            core,
            writer,
            transactional_id,
            change.producers[0][1],
            compression=self._compression,
            bytes_max=self._transaction_bytes_max,
        )

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        def prepare(catalog: Catalog, _: Ends) -> Prepared | None:
            partition = catalog.partition(at)
            if not 0 <= before <= partition.end:
                raise _out_of_range(at, before, partition)
            if before <= partition.start:
                return None
            return Prepared(Change(starts=[(at.topic, at.partition, before)]))

        await self._change(prepare)

    # Groups

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        core = self._following()
        with core.state:
            known = core.catalog.groups.get(group, {})
            return {at: known[at] for at in partitions if at in known}

    async def groups(self) -> Mapping[str, Mapping[TopicPartition, Committed]]:
        core = self._following()
        with core.state:
            return {group: dict(known) for group, known in core.catalog.groups.items()}

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        check_offsets(group, offsets)

        def prepare(catalog: Catalog, _: Ends) -> Prepared | None:
            rows: list[tuple[str, str, int, int | None, str]] = []
            for at, committed in offsets.items():
                if committed is not None:
                    catalog.partition(at)  # raises UnknownTopic
                offset, metadata = (None, "") if committed is None else committed
                rows.append((group, at.topic, at.partition, offset, metadata))
            return Prepared(Change(offsets=rows)) if rows else None

        await self._change(prepare)

    # Upkeep

    async def checkpoint(self) -> None:
        """Move what the journal holds to segments, and free what may go. Happens by itself as the journal grows."""
        _, writer = self._need()
        await asyncio.wrap_future(writer.checkpoint())

    async def run_maintenance(self, now_ms: int) -> None:
        """Apply retention and compaction as of `now_ms`. Commits go on meanwhile."""
        core, writer = self._need()
        await asyncio.wrap_future(writer.checkpoint(now_ms=now_ms))
        try:
            with self.lock("@compaction"):
                swaps = await asyncio.to_thread(compact, core, now_ms)
                if swaps:
                    await asyncio.wrap_future(writer.checkpoint(swaps, now_ms=now_ms))
        except LogBusy:
            return  # another process is at it

    # Inside

    def _need(self) -> tuple[Core, Writer]:
        if self._opened is None:
            raise LogError(f"{self._path}: the log is not open.", mend="Open it before use.")
        return self._opened

    def _following(self) -> Core:
        core, _ = self._need()
        core.follow()
        return core

    async def _change(self, prepare: Callable[[Catalog, Ends], Prepared | None]) -> Change:
        _, writer = self._need()
        return await asyncio.shield(asyncio.wrap_future(writer.submit(Job(prepare))))

    def _located(self, at: TopicPartition, offset: int) -> tuple[Path, Partition, list[TailBatch], Journal]:
        """What a read from `offset` needs, taken together; `tail` begins with the batch that holds `offset`."""
        core = self._following()
        with core.state:
            topic, partition = core.catalog.topic(at.topic), core.catalog.partition(at)
            if not partition.start <= offset <= partition.end:
                raise _out_of_range(at, offset, partition)
            first = partition.tail_from(offset)
            return (
                self._layout.partition(at, topic.info.incarnation),
                partition,
                partition.tail[first : first + 1024],
                core.journal,
            )

    def _readable_bytes(self, at: TopicPartition, offset: int) -> int:
        """About how much a read from `offset` will decompress; exact only when it is little."""
        _, partition, tail, _ = self._located(at, offset)
        if offset < partition.tail_base:
            return sum(s.size_bytes for s in partition.segments if s.end > offset)
        return sum(b.size_bytes for b in tail)

    def _read(self, at: TopicPartition, offset: int, size_bytes_max: int) -> list[RecordBatch]:
        folder, partition, tail, journal = self._located(at, offset)
        if offset < partition.tail_base:
            found = self._reader.read_segments(folder, partition.segments, offset, size_bytes_max)
            if found:
                return found
        return self._reader.read_tail(tail, journal, size_bytes_max)

    def _offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        core = self._following()
        with core.state:
            topic, partition = core.catalog.topic(at.topic), core.catalog.partition(at)
            start, segments, tail = partition.start, partition.segments, list(partition.tail)
        folder = self._layout.partition(at, topic.info.incarnation)
        for segment in segments:
            if segment.max_timestamp_ms >= timestamp_ms and segment.end > start:
                for found in self._reader.scan(folder, segment, time_ms=timestamp_ms):
                    if found.max_timestamp_ms >= timestamp_ms and found.last >= start:
                        return max(found.base, start)
        return next((max(b.base, start) for b in tail if b.max_timestamp_ms >= timestamp_ms and b.last >= start), None)

    def _tried(self, at: TopicPartition, read: Callable[[], _T]) -> _T:
        """`read`, again after mending what can be mended, and again when a checkpoint removed files under it."""
        mended: set[tuple[Path, int]] = set()
        tries = 0
        while True:
            try:
                return read()
            except FileNotFoundError as error:
                tries += 1
                if tries > _READ_TRIES_MAX:
                    raise LogCorrupt(
                        f"{at}: {error.filename} is missing.", mend="Restore it from a copy of the log's folder."
                    ) from error
            except DamagedError as damaged:
                place = damaged.path, damaged.position
                if place in mended or not self._mend(at, damaged):
                    raise LogCorrupt(
                        f"{damaged.path}: the record batch at byte {damaged.position} fails its check ({at}).",
                        mend="Restore this file from a copy of the log's folder; other records can still be read.",
                    ) from damaged
                mended.add(place)

    def _mend(self, at: TopicPartition, damaged: DamagedError) -> bool:
        core, _ = self._need()
        if damaged.segment is None:
            return False
        done = mend(self._layout, core.journal.first, at, damaged.segment, path=damaged.path, position=damaged.position)
        self._reader.forget(damaged.path)
        return done


def _out_of_range(at: TopicPartition, offset: int, partition: Partition) -> OffsetOutOfRange:
    return OffsetOutOfRange(
        f"{at}: offset {offset} is outside [{partition.start}, {partition.end}].",
        mend="Start from the first or the last offset that is there.",
    )
