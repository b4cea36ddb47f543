"""EmbeddedLog: a log in a folder, for one machine, with no server (contract: `sdk.log.Log`; layout: `layout.py`)."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from streamflow.logs.embedded.catalog import Catalog
from streamflow.logs.embedded.compaction import compact
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.frame import Change
from streamflow.logs.embedded.layout import PARTITIONS_MAX, TRANSACTIONAL_ID_BYTES_MAX, Layout
from streamflow.logs.embedded.locks import named_lock
from streamflow.logs.embedded.producer import EmbeddedAppender, EmbeddedProducer, check_offsets
from streamflow.logs.embedded.reading import Reads, out_of_range
from streamflow.logs.embedded.topics import check_spec
from streamflow.logs.embedded.waiters import Waiters
from streamflow.logs.embedded.writer import Ends, Job, Prepared, Writer
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogBusy, LogError, TopicExists, UsageError
from streamflow.sdk.log import Appender, Compression, Producer, RecordBatch, TopicInfo, TopicSpec

_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.020  # how often to look for what other processes commit
_INLINE_BYTES_MAX = 128 << 10  # reading less than this is quicker than handing it to a thread


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Opened(NamedTuple):
    core: Core
    writer: Writer
    reads: Reads


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
        incarnations: gives each new topic a name that none had before, for its folder and for ids of executions.
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
        incarnations: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        if durability not in ("os", "fsync"):
            raise UsageError(f"durability is {durability!r}.", mend="Use 'os' or 'fsync'.")
        self._path = Path(path)
        self._durable = durability == "fsync"
        self._compression: Compression = compression
        self._transaction_bytes_max = transaction_bytes_max
        self._journal_bytes_max = journal_bytes_max
        self._lock_timeout_ms = lock_timeout_ms
        self._clock, self._incarnations = clock, incarnations
        self._layout = Layout(self._path)
        self._waiters = Waiters()
        self._opened: _Opened | None = None

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
            writer = Writer(core, journal_bytes_max=self._journal_bytes_max, clock=self._clock)
            self._opened = _Opened(core, writer, Reads(core))

    async def close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await asyncio.to_thread(opened.writer.close)
            opened.core.close()
            opened.reads.close()

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock `name` of this log, such as a workflow's. Raises LogBusy, naming the process that holds it."""
        self._layout.make_folders()
        return named_lock(self._layout.locks, name)

    # Topics

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        check_spec(spec)
        config = {str(k): str(v) for k, v in spec.config.items()}
        incarnation = self._incarnations()

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
        core = self._need().core
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
        reads = self._need().reads
        if min(size_bytes_max, reads.readable_bytes(at, offset)) <= _INLINE_BYTES_MAX:
            return reads.read(at, offset, size_bytes_max)
        return await asyncio.to_thread(reads.read, at, offset, size_bytes_max)

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        return await asyncio.to_thread(self._need().reads.offset_for_time, at, timestamp_ms)

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
                    # Not `wait_for`: it swallows a cancellation that comes when its time is up.
                    async with asyncio.timeout(min(pause_s, left_s)):
                        await event.wait()
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
        core, writer, _ = self._need()
        return EmbeddedProducer(
            core,
            writer,
            transactional_id,
            change.producers[0][1],
            compression=self._compression,
            bytes_max=self._transaction_bytes_max,
        )

    async def appender(self, name: str) -> Appender:
        return EmbeddedAppender(await self.producer(name))

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        def prepare(catalog: Catalog, _: Ends) -> Prepared | None:
            partition = catalog.partition(at)
            if not 0 <= before <= partition.end:
                raise out_of_range(at, before, partition)
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
        await asyncio.wrap_future(self._need().writer.checkpoint())

    async def run_maintenance(self, now_ms: int) -> None:
        """Apply retention and compaction as of `now_ms`. Commits go on meanwhile."""
        core, writer, _ = self._need()
        await asyncio.wrap_future(writer.checkpoint(now_ms=now_ms))
        try:
            with self.lock("@compaction"):
                swaps = await asyncio.to_thread(compact, core, now_ms)
                if swaps:
                    await asyncio.wrap_future(writer.checkpoint(swaps, now_ms=now_ms))
        except LogBusy:
            return  # another process is at it

    # Inside

    def _need(self) -> _Opened:
        if self._opened is None:
            raise LogError(f"{self._path}: the log is not open.", mend="Open it before use.")
        return self._opened

    def _following(self) -> Core:
        core = self._need().core
        core.follow()
        return core

    async def _change(self, prepare: Callable[[Catalog, Ends], Prepared | None]) -> Change:
        return await asyncio.shield(asyncio.wrap_future(self._need().writer.submit(Job(prepare))))
