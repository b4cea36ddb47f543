"""Compaction: of topics with `cleanup.policy=compact`, keep the last value of each key.

Works on closed segments, beside running commits: new files are written, and the next checkpoint swaps them in. Offsets
stay what they are, so gaps appear. A record without a value removes its key; it goes itself once `delete.retention.ms`
has passed since its segment was first compacted, so that readers had time to see it. Records without a key stay.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c

from streamflow.codecs.recordbatch import HEADER_SIZE, build, open_batch, parse_header
from streamflow.codecs.records import Record, records
from streamflow.codecs.varints import read_varint
from streamflow.logs.embedded.catalog import Segment
from streamflow.logs.embedded.checkpoint import Swap
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.files import Handle, read_at, write_all
from streamflow.logs.embedded.frame import body_is_sound, is_sealed, place
from streamflow.logs.embedded.index import Index
from streamflow.logs.embedded.segments import index_path, log_path
from streamflow.logs.embedded.topics import TopicConfig
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt
from streamflow.sdk.log import NewBatch

KEYS_MAX = 5_000_000  # held in memory at once; keys first seen behind so many wait for the next round

Latest = dict[bytes, int]


def compact(core: Core, now_ms: int) -> tuple[Swap, ...]:
    """Write compacted files for all partitions that have something to gain. Raises LogCorrupt, OSError."""
    with core.state:
        work = [
            (TopicPartition(name, number), topic.info.incarnation, topic.config, partition.segments, partition.start)
            for name, topic in core.catalog.topics.items()
            if topic.config.compact
            for number, partition in enumerate(topic.partitions)
        ]
    swaps = []
    for at, incarnation, config, segments, start in work:
        folder = core.layout.partition(at, incarnation)
        _sweep(folder, segments)
        closed = segments[:-1]
        if not any(_is_due(s, config, now_ms) for s in closed):
            continue
        latest = _latest_offsets(folder, closed)
        new = _Rewriter(folder, config, latest, start, now_ms).run(closed)
        swaps.append(Swap(at=at, incarnation=incarnation, old=closed, new=new))
    return tuple(swaps)


def _is_due(segment: Segment, config: TopicConfig, now_ms: int) -> bool:
    return segment.compacted_at_ms < 0 or _is_settling(segment, config, now_ms)


def _is_settling(segment: Segment, config: TopicConfig, now_ms: int) -> bool:
    """Whether the tombstones of a compacted segment may go now. Those of a settled one (`SETTLED`) are gone."""
    return 0 <= segment.compacted_at_ms < SETTLED and segment.compacted_at_ms + config.delete_retention_ms <= now_ms


SETTLED = 1 << 62  # compacted_at_ms of a segment that holds no tombstones any more


def _sweep(folder: Path, segments: Sequence[Segment]) -> None:
    """Remove files of a compaction that was interrupted before its swap. Only one compaction runs at a time."""
    named = {s.name for s in segments}
    for path in folder.glob("*.c-*.*") if folder.exists() else ():
        if path.stem not in named:
            path.unlink(missing_ok=True)


def _latest_offsets(folder: Path, segments: Sequence[Segment]) -> Latest:
    latest: Latest = {}
    for segment in segments:
        for stored in _stored(folder, segment):
            for record in records(open_batch(stored)):
                if record.key is not None and (record.key in latest or len(latest) < KEYS_MAX):
                    latest[record.key] = record.offset
    return latest


def _stored(folder: Path, segment: Segment) -> Iterator[bytes]:
    """The stored batches of a segment. Raises LogCorrupt."""
    path = log_path(folder, segment)
    handle = Handle(path, os.O_RDONLY)
    position = 0
    while position < segment.size_bytes:
        head = read_at(handle.fd, position, HEADER_SIZE)
        stored = read_at(handle.fd, position, parse_header(head).size_bytes) if is_sealed(head, 0) else b""
        if not stored or not body_is_sound(stored):
            raise LogCorrupt(
                f"{path}: the record batch at byte {position} fails its check.",
                mend="Restore this file from a copy of the log's folder; it is not compacted until then.",
            )
        yield stored
        position += len(stored)


class _Rewriter:
    """Writes the compacted form of a run of segments: one file each, or one for several that are small and settled."""

    def __init__(self, folder: Path, config: TopicConfig, latest: Latest, start: int, now_ms: int) -> None:
        self._folder, self._config, self._latest = folder, config, latest
        self._start, self._now_ms = start, now_ms

    def run(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        out: list[Segment] = []
        group: list[Segment] = []
        for segment in segments:
            settled = segment.compacted_at_ms == SETTLED or _is_settling(segment, self._config, self._now_ms)
            if not settled:
                out += self._write(group, settled=True) + self._write([segment], settled=False)
                group = []
                continue
            if group and sum(s.size_bytes for s in group) + segment.size_bytes > self._config.segment_bytes:
                out += self._write(group, settled=True)
                group = []
            group.append(segment)
        return tuple(out + self._write(group, settled=True))

    def _write(self, group: Sequence[Segment], *, settled: bool) -> list[Segment]:
        if not group:
            return []
        base = group[0].base
        since = next((s.compacted_at_ms for s in group if s.compacted_at_ms >= 0), self._now_ms)
        new = Segment(
            f"{base:020d}.c-{uuid.uuid4().hex[:12]}", base, group[-1].end, 0, -1, SETTLED if settled else since
        )
        handle = Handle(log_path(self._folder, new), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        index = Index()
        size, latest_ms = 0, -1
        for segment in group:
            for stored in _stored(self._folder, segment):
                kept = self._rewritten(stored, drop_tombstones=settled)
                if kept is None:
                    continue
                header = parse_header(kept)
                index.add(header.base_offset, size, header.max_timestamp_ms)
                write_all(handle.fd, [kept], size)
                size += len(kept)
                latest_ms = max(latest_ms, header.max_timestamp_ms)
        entries = Handle(index_path(self._folder, new), os.O_RDWR | os.O_CREAT)
        write_all(entries.fd, [index.encode()], 0)
        os.fsync(handle.fd)  # what it replaces is removed soon
        if size == 0:
            log_path(self._folder, new).unlink()
            index_path(self._folder, new).unlink()
            return []
        return [new._replace(size_bytes=size, max_timestamp_ms=latest_ms)]

    def _rewritten(self, stored: bytes, *, drop_tombstones: bool) -> bytes | None:
        """A stored batch without the records that may go; None if none stays."""
        batch = open_batch(stored)
        kept: list[bytes] = []
        latest_ms = -1
        at = 0
        for record in records(batch):
            size, body_at = read_varint(batch.body, at, len(batch.body))
            end = body_at + size
            if self._stays(record, drop_tombstones=drop_tombstones):
                kept.append(batch.body[at:end])
                latest_ms = max(latest_ms, record.timestamp_ms)
            at = end
        if len(kept) == batch.count:
            return stored
        if not kept:
            return None
        header = parse_header(stored)
        new = NewBatch(
            count=len(kept), body=b"".join(kept), base_timestamp_ms=batch.base_timestamp_ms, max_timestamp_ms=latest_ms
        )
        dense = build(new, base_offset=batch.base_offset, compression=header.compression)
        return b"".join(place(_with_last_delta(dense, header.last_offset_delta), batch.base_offset))

    def _stays(self, record: Record, *, drop_tombstones: bool) -> bool:
        if record.offset < self._start:
            return False
        if record.key is None:
            return True
        if self._latest.get(record.key, -1) > record.offset:
            return False
        return record.value is not None or not drop_tombstones


def _with_last_delta(stored: bytes, last_offset_delta: int) -> bytes:
    """`stored` with offsets up to `last_offset_delta`: what was removed at its end still counts as offsets."""
    covered = stored[21:23] + last_offset_delta.to_bytes(4, "big") + stored[27:]
    return stored[:17] + int(google_crc32c.value(covered)).to_bytes(4, "big") + covered
