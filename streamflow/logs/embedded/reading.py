"""Reads of one open log: finding where records are, and trying again when files changed or were damaged meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from streamflow.logs.embedded.catalog import Partition, TailBatch
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.journal import Journal
from streamflow.logs.embedded.reader import DamagedError, Reader
from streamflow.logs.embedded.repair import mend
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt, OffsetOutOfRange
from streamflow.sdk.log import RecordBatch

_MISSING_MAX = 5  # checkpoints that may remove files under one read
_TAIL_BATCHES_MAX = 1024  # of one read
_T = TypeVar("_T")


class Located(NamedTuple):
    """What a read needs, taken at one moment; `tail` begins with the batch that holds the offset."""

    incarnation: str
    partition: Partition
    tail: list[TailBatch]
    journal: Journal


class Reads:
    """The reading half of a log; any thread may call it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reader = Reader()

    def close(self) -> None:
        self._reader.close()

    def read(self, at: TopicPartition, offset: int, size_bytes_max: int) -> list[RecordBatch]:
        """See `sdk.log.Log.read`."""
        return self._tried(at, lambda: self._read(at, offset, size_bytes_max))

    def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        """See `sdk.log.Log.offset_for_time`."""
        return self._tried(at, lambda: self._offset_for_time(at, timestamp_ms))

    def readable_bytes(self, at: TopicPartition, offset: int) -> int:
        """About how much a read from `offset` has before it; exact only when it is little."""
        found = self._located(at, offset)
        if offset < found.partition.tail_base:
            return sum(s.size_bytes for s in found.partition.segments if s.end > offset)
        return sum(b.size_bytes for b in found.tail)

    def _located(self, at: TopicPartition, offset: int) -> Located:
        core = self._core
        core.follow()
        with core.state:
            topic, partition = core.catalog.topic(at.topic), core.catalog.partition(at)
            if not partition.start <= offset <= partition.end:
                raise out_of_range(at, offset, partition)
            first = partition.tail_from(offset)
            return Located(
                topic.info.incarnation, partition, partition.tail[first : first + _TAIL_BATCHES_MAX], core.journal
            )

    def _read(self, at: TopicPartition, offset: int, size_bytes_max: int) -> list[RecordBatch]:
        place = self._located(at, offset)
        if offset < place.partition.tail_base:
            folder = self._core.layout.partition(at, place.incarnation)
            found = self._reader.read_segments(folder, place.partition.segments, offset, size_bytes_max)
            if found:
                return found
        return self._reader.read_tail(place.tail, place.journal, size_bytes_max)

    def _offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        core = self._core
        core.follow()
        with core.state:
            topic, partition = core.catalog.topic(at.topic), core.catalog.partition(at)
            start, segments, tail = partition.start, partition.segments, list(partition.tail)
        folder = core.layout.partition(at, topic.info.incarnation)
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
                if tries > _MISSING_MAX:
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
        core = self._core
        if damaged.segment is None:
            return False
        done = mend(core.layout, core.journal.first, at, damaged.segment, path=damaged.path, position=damaged.position)
        self._reader.forget(damaged.path)
        return done


def out_of_range(at: TopicPartition, offset: int, partition: Partition) -> OffsetOutOfRange:
    return OffsetOutOfRange(
        f"{at}: offset {offset} is outside [{partition.start}, {partition.end}].",
        mend="Start from the first or the last offset that is there.",
    )
