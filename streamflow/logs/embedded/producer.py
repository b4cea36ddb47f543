"""Producers: a transaction is gathered in memory, compressed as it grows, and becomes one frame when it commits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamflow.codecs.recordbatch import HEADER_SIZE, build
from streamflow.logs.embedded.catalog import Catalog
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.frame import BatchRef, Change, place
from streamflow.logs.embedded.layout import GROUP_NAME_BYTES_MAX, METADATA_BYTES_MAX, RECORD_BATCH_BYTES_MAX
from streamflow.logs.embedded.writer import Ends, Job, Prepared, Writer
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import Fenced, LogError, LogFull, StreamflowError, UnknownTopic, UsageError
from streamflow.sdk.log import Compression, NewBatch, Producer

_INLINE_BYTES_MAX = 128 << 10  # compressing less than this is quicker than handing it to a thread
_RATIO_MAX = 512  # readers refuse what blows up beyond all measure, so such batches are stored as they are


@dataclass(frozen=True, slots=True)
class _Stored:
    """A record batch, ready but for its offset."""

    data: bytes
    count: int
    max_timestamp_ms: int


class EmbeddedProducer:
    """The Producer of the embedded log (contract: `sdk.log.Producer`)."""

    def __init__(
        self, core: Core, writer: Writer, transactional_id: str, epoch: int, *, compression: Compression, bytes_max: int
    ) -> None:
        self._core, self._writer = core, writer
        self._id, self._epoch = transactional_id, epoch
        self._compression: Compression = compression
        self._bytes_max = bytes_max
        self._open = self._closed = False
        self._size_bytes = 0
        self._batches: dict[tuple[TopicPartition, str], list[_Stored]] = {}  # by partition and topic incarnation
        self._offsets: dict[tuple[str, TopicPartition], Committed] = {}
        self._commit: asyncio.Future[Change] | None = None  # one whose caller was cancelled may still be under way

    async def begin(self) -> None:
        self._check_usable()
        await self._settle()
        self._core.follow()
        self._check_epoch(self._core.catalog)
        if self._open:
            raise UsageError(f"producer {self._id!r}: a transaction is open.", mend="Commit or abort it first.")
        self._open = True

    async def append(self, at: TopicPartition, batches: Sequence[NewBatch]) -> None:
        self._check_open()
        self._core.follow()
        self._check_epoch(self._core.catalog)
        self._core.catalog.partition(at)  # raises UnknownTopic
        topic = self._core.catalog.topic(at.topic)
        for batch in batches:
            _check_batch(at, batch)
        total = sum(HEADER_SIZE + len(b.body) for b in batches)
        if self._size_bytes + total > self._bytes_max:
            raise LogFull(
                f"producer {self._id!r}: the open transaction is about to exceed {self._bytes_max} bytes.",
                mend="Abort it and commit more often, or raise transaction_bytes_max.",
            )
        compression = topic.config.compression or self._compression
        if total <= _INLINE_BYTES_MAX:
            stored = _store(batches, compression)
        else:
            stored = await asyncio.to_thread(_store, batches, compression)
        self._check_open()  # an abort may have come meanwhile
        limit = min(topic.config.message_bytes_max or RECORD_BATCH_BYTES_MAX, RECORD_BATCH_BYTES_MAX)
        for one in stored:
            if len(one.data) > limit:
                raise _too_large(at, len(one.data), limit)
        self._batches.setdefault((at, topic.info.incarnation), []).extend(stored)
        self._size_bytes += total

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        self._check_open()
        check_offsets(group, offsets)
        for at in offsets:
            self._core.catalog.partition(at)  # raises UnknownTopic
        self._offsets.update({(group, at): committed for at, committed in offsets.items()})

    async def commit(self) -> Mapping[TopicPartition, int]:
        self._check_open()
        commit = asyncio.wrap_future(self._writer.submit(Job(self._prepare, shared=True)))
        commit.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may have gone away
        self._commit = commit
        try:
            change = await asyncio.shield(commit)
        except StreamflowError:
            self._commit = None  # nothing was committed: the transaction stays open until it is aborted
            raise
        self._forget()
        return {TopicPartition(ref.topic, ref.partition): ref.last + 1 for ref in change.batches}

    async def abort(self) -> None:
        await self._settle()
        self._forget()

    async def close(self) -> None:
        await self._settle()
        self._forget()
        self._closed = True

    async def _settle(self) -> None:
        """Wait for a commit whose caller went away; its transaction is over, whatever came of it."""
        commit = self._commit
        if commit is not None:
            await asyncio.wait([commit])
            self._forget()

    def _forget(self) -> None:
        self._batches, self._offsets, self._size_bytes = {}, {}, 0
        self._open, self._commit = False, None

    def _prepare(self, catalog: Catalog, ends: Ends) -> Prepared | None:
        """The transaction as a change; runs in the writer thread while the log is held."""
        self._check_epoch(catalog)
        change, data, new_ends = Change(), list[bytes | memoryview](), Ends()
        for (at, incarnation), stored in self._batches.items():
            if catalog.topic(at.topic).info.incarnation != incarnation:
                raise UnknownTopic(
                    f"topic {at.topic!r} was deleted and made again during the transaction.",
                    mend="Abort and begin again.",
                )
            base = ends.get(at, catalog.partition(at).end)
            for one in stored:
                data += place(one.data, base)
                last = base + one.count - 1
                ref = BatchRef(at.topic, at.partition, base, last, len(one.data), one.max_timestamp_ms)
                change.batches.append(ref)
                base = last + 1
            new_ends[at] = base
        for (group, at), committed in self._offsets.items():
            catalog.partition(at)  # raises UnknownTopic
            change.offsets.append((group, at.topic, at.partition, committed.offset, committed.metadata))
        return Prepared(change, data, new_ends) if change.batches or change.offsets else None

    def _check_epoch(self, catalog: Catalog) -> None:
        newest = catalog.producers.get(self._id)
        if newest != self._epoch:
            raise Fenced(
                f"producer {self._id!r} of epoch {self._epoch} was replaced by a newer one (epoch {newest}).",
                mend="Stop this task: another worker runs it now.",
            )

    def _check_usable(self) -> None:
        if self._closed:
            raise UsageError(f"producer {self._id!r} is closed.", mend="Make a new one.")

    def _check_open(self) -> None:
        self._check_usable()
        if not self._open or self._commit is not None:
            raise UsageError(f"producer {self._id!r} has no open transaction.", mend="Call begin first.")


def check_offsets(group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
    """Raises UsageError for a group name or a position that the log does not keep."""
    if not group or len(group.encode(errors="replace")) > GROUP_NAME_BYTES_MAX:
        raise UsageError(
            f"group name {group[:40]!r} is empty or too long.", mend=f"Use 1 to {GROUP_NAME_BYTES_MAX} bytes."
        )
    for at, committed in offsets.items():
        if committed is None:
            continue
        if not 0 <= committed.offset < 1 << 63:
            raise UsageError(f"{at}: offset {committed.offset} cannot be committed.", mend="Offsets begin with 0.")
        size = len(committed.metadata.encode(errors="replace"))
        if size > METADATA_BYTES_MAX:
            raise UsageError(
                f"{at}: the note with the committed offset has {size} bytes.",
                mend=f"Keep it to {METADATA_BYTES_MAX} bytes.",
            )


def _check_batch(at: TopicPartition, batch: NewBatch) -> None:
    if batch.count < 1:
        raise UsageError(f"{at}: a record batch of {batch.count} records.", mend="Append at least one record.")
    if len(batch.body) > RECORD_BATCH_BYTES_MAX:
        raise _too_large(at, len(batch.body), RECORD_BATCH_BYTES_MAX)


def _too_large(at: TopicPartition, size_bytes: int, limit: int) -> UsageError:
    return UsageError(f"{at}: a record batch of {size_bytes} bytes.", mend=f"Split it: the limit is {limit} bytes.")


def _store(batches: Sequence[NewBatch], compression: Compression) -> list[_Stored]:
    out = []
    for batch in batches:
        data = build(batch, base_offset=0, compression=compression)
        if len(batch.body) > _RATIO_MAX * len(data) or len(data) > len(batch.body) + HEADER_SIZE:
            data = build(batch, base_offset=0, compression="none")
        out.append(_Stored(data, batch.count, batch.max_timestamp_ms))
    return out


class EmbeddedAppender:
    """The Appender of the embedded log (contract: `sdk.log.Appender`): each call is a transaction of its own."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def append(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> None:
        await self._producer.begin()
        try:
            for at, batches in writes.items():
                await self._producer.append(at, batches)
            await self._producer.commit()
        except LogError:
            await self._producer.abort()
            raise

    async def close(self) -> None:
        await self._producer.close()
