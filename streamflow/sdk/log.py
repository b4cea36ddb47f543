"""The Log port: topics of partitions of record batches, read by offset, written in transactions.

Both implementations speak Kafka's own record batch (format v2), so one codec serves both. A log never decodes records:
it moves `RecordBatch`es. Everything that is read is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from streamflow.model.positions import Committed, TopicPartition

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """A record batch as read: header fields and the decompressed body (the records, back to back).

    Offsets inside are `base_offset + offsetDelta`, strictly increasing, gaps allowed. `base_timestamp_ms +
    timestampDelta`
    is a record's time. The CRC was checked. Control batches and aborted data are never handed out.

    `last_offset + 1` is where to read on. It may lie behind the last record: offsets without a record (compacted away,
    transaction markers, aborted data) count to the batch before them. `count` 0 with an empty body says that offsets
    `base_offset` to `last_offset` hold no record at all.
    """

    base_offset: int
    last_offset: int
    count: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    body: bytes
    size_bytes: int = 0  # as stored, header included
    log_append_time: bool = False  # then every record's time is max_timestamp_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """Records to append: the body of a record batch with offsetDelta 0..count-1 (dense), not compressed.

    The log assigns offsets, compresses, and stamps producer id, epoch and sequence.
    """

    count: int
    body: bytes
    base_timestamp_ms: int
    max_timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic to create. `config` uses Kafka's names (`cleanup.policy`, `retention.ms`, …)."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic that exists. `incarnation` differs when a topic of that name was deleted and made again."""

    name: str
    partitions: int
    incarnation: str
    config: Mapping[str, str] = field(default_factory=dict)


class Producer(Protocol):
    """Writes transactions under one transactional id. A newer producer of the same id fences this one.

    One transaction at a time; not for concurrent use. Order of a commit path: begin, append*, send_offsets, commit.
    On a remote log every step may raise CommitUnknown: this producer is of no more use, and whether its transaction
    was committed a new one settles.
    """

    async def begin(self) -> None:
        """Open a transaction. Raises Fenced."""
        ...

    async def append(self, at: TopicPartition, batches: Sequence[NewBatch]) -> None:
        """Add record batches to the open transaction; invisible until commit. Raises UnknownTopic, Fenced, LogFull."""
        ...

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Add input positions to the open transaction."""
        ...

    async def commit(self) -> Mapping[TopicPartition, int]:
        """Commit all or nothing; returns the end offset (exclusive) of each partition written in this transaction.

        Who looks through the log that committed sees it at once; others may see it a moment later.

        Raises:
            Fenced: nothing was committed.
            LogFull: nothing was committed; abort and retry when there is space.
            CommitUnknown: make a new producer (which resolves the outcome) and read the committed offsets.
        """
        ...

    async def abort(self) -> None:
        """Drop the open transaction; harmless when none is open."""
        ...

    async def close(self) -> None: ...


class Appender(Protocol):
    """Writes record batches outside of transactions: each is seen as soon as it is there. Not for concurrent use."""

    async def append(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> None:
        """Return when all of it is in the log, of each partition in this order.

        Raises Fenced, UnknownTopic, LogFull, CommitUnknown and other LogErrors: some of it may be there, or come yet.
        What is appended again is there twice.
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Log(Protocol):
    """A log. Open before use; safe for concurrent use by tasks of one event loop."""

    @property
    def address(self) -> str:
        """What `--log` was given: a path, or kafka://HOST:PORT."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        """Create a topic. Raises TopicExists."""
        ...

    async def delete_topic(self, name: str) -> None:
        """Delete a topic and the offsets that groups committed for it. Raises UnknownTopic."""
        ...

    async def topics(self) -> Mapping[str, TopicInfo]:
        """All topics by name."""
        ...

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        """(log start, committed end): the first offset kept, and the one behind the last that may be read.

        Reading from the start, batch after batch, arrives at the end exactly.
        """
        ...

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        """First offset whose record batch has a record with time >= `timestamp_ms`; None if there is none."""
        ...

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        """Committed record batches that hold offsets >= `offset`; the first may begin before it (compare offsets).

        Returns n >= 0 batches, offsets strictly increasing, total `size_bytes` up to `size_bytes_max` but at least one
        batch if any exists; none only at the committed end, as it was when the read began. Cancel-safe: reading moves
        no cursor. Raises OffsetOutOfRange, UnknownTopic, LogCorrupt.
        """
        ...

    async def wait(self, positions: Mapping[TopicPartition, int], *, timeout_ms: int) -> None:
        """Return when some partition has a committed record at or past its position, or after `timeout_ms`.

        It may return early; it raises nothing for a partition that cannot be read, the read that follows does.
        """
        ...

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        """Let offsets below `before` go; log start moves there."""
        ...

    async def producer(self, transactional_id: str) -> Producer:
        """Initialise a producer: fences older ones of this id and settles what they left undecided."""
        ...

    async def appender(self, name: str) -> Appender:
        """What writes without transactions. `name`: of who writes, for messages; one at a time has it."""
        ...

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """Committed positions of a group; a partition without one is absent."""
        ...

    async def groups(self) -> Mapping[str, Mapping[TopicPartition, Committed]]:
        """All groups and what they committed."""
        ...

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        """Set (or, with None, forget) committed positions outside any transaction; the group must be idle."""
        ...
