"""The catalog: what the log holds, in memory, without the records.

Each process has its own and brings it up to date by applying frames in order. Applying is pure bookkeeping: the same
frames give the same catalog everywhere. One thread at a time; `EmbeddedLog` sees to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streamflow.logs.embedded.frame import Change
from streamflow.logs.embedded.layout import PRODUCERS_MAX
from streamflow.logs.embedded.topics import TopicConfig, read_config
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogCorrupt, UnknownTopic
from streamflow.sdk.log import TopicInfo


class TailBatch(NamedTuple):
    """A record batch that is still read from the journal, at byte `position`."""

    base: int
    last: int
    position: int
    size_bytes: int
    max_timestamp_ms: int


class Segment(NamedTuple):
    """A file of record batches: offsets `base` to `end` (exclusive), `size_bytes` of it count."""

    name: str
    base: int
    end: int
    size_bytes: int
    max_timestamp_ms: int
    compacted_at_ms: int = -1  # when its older values were last cleaned away


@dataclass(slots=True)
class Partition:
    """Offsets `start` to `end`; those below `tail_base` are in segments, the others in the tail."""

    start: int = 0
    end: int = 0
    tail_base: int = 0
    segments: tuple[Segment, ...] = ()
    tail: list[TailBatch] = field(default_factory=list)

    def tail_from(self, offset: int) -> int:
        """Index of the first tail batch that holds an offset >= `offset`."""
        return bisect_left(self.tail, offset, key=lambda b: b.last)


@dataclass(slots=True)
class Topic:
    info: TopicInfo
    config: TopicConfig
    partitions: list[Partition]


def make_topic(name: str, partitions: int, incarnation: str, config: dict[str, str]) -> Topic:
    info = TopicInfo(name=name, partitions=partitions, incarnation=incarnation, config=config)
    return Topic(info, read_config(name, config), [Partition() for _ in range(partitions)])


@dataclass(slots=True)
class Catalog:
    """Everything but the records, as of frame `seq`, whose header has CRC `chain` and which ends at byte `position`."""

    salt: int  # the log's own number
    position: int = 0  # in the newest journal: where the next frame begins
    seq: int = 0
    chain: int = 0
    topics: dict[str, Topic] = field(default_factory=dict)
    groups: dict[str, dict[TopicPartition, Committed]] = field(default_factory=dict)
    producers: dict[str, int] = field(default_factory=dict)  # epochs, the newest initialised last
    garbage: list[str] = field(default_factory=list)  # paths below `topics/` that nothing refers to any more

    def topic(self, name: str) -> Topic:
        topic = self.topics.get(name)
        if topic is None:
            raise UnknownTopic(f"topic {name!r} does not exist.", mend=_nearest(name, self.topics))
        return topic

    def partition(self, at: TopicPartition) -> Partition:
        topic = self.topic(at.topic)
        if not 0 <= at.partition < len(topic.partitions):
            raise UnknownTopic(
                f"topic {at.topic!r} has no partition {at.partition}.",
                mend=f"Its partitions are 0 to {len(topic.partitions) - 1}.",
            )
        return topic.partitions[at.partition]

    def partition_count(self) -> int:
        return sum(len(t.partitions) for t in self.topics.values())

    def apply(self, change: Change, *, data_at: int, where: str) -> set[TopicPartition]:
        """Take in a frame whose data begins at byte `data_at` of the journal; returns the partitions that grew."""
        try:
            return self._apply(change, data_at)
        except (UnknownTopic, _OutOfOrderError) as error:
            raise LogCorrupt(f"{where}: the frame does not fit what came before it: {error}") from error

    def _apply(self, change: Change, data_at: int) -> set[TopicPartition]:
        grew = set()
        for name in change.deleted:
            incarnation = self.topic(name).info.incarnation
            del self.topics[name]
            self.garbage.append(f"{name}/{incarnation}")
            self._forget_offsets(name)
        for name, partitions, incarnation, config in change.created:
            self.topics[name] = make_topic(name, partitions, incarnation, config)
        for ref in change.batches:
            at = TopicPartition(ref.topic, ref.partition)
            partition = self.partition(at)
            if ref.base != partition.end:
                raise _OutOfOrderError(f"{at} ends at {partition.end}, the batch begins at {ref.base}")
            batch = TailBatch(ref.base, ref.last, data_at, ref.size_bytes, ref.max_timestamp_ms)
            partition.tail.append(batch)
            partition.end = ref.last + 1
            data_at += ref.size_bytes
            grew.add(at)
        for topic, number, start in change.starts:
            partition = self.partition(TopicPartition(topic, number))
            partition.start = max(partition.start, start)
        for group, topic, number, offset, metadata in change.offsets:
            self._set_offset(group, TopicPartition(topic, number), offset, metadata)
        for transactional_id, epoch in change.producers:
            self.producers.pop(transactional_id, None)  # so that it becomes the last
            self.producers[transactional_id] = epoch
            if len(self.producers) > PRODUCERS_MAX:
                del self.producers[next(iter(self.producers))]
        return grew

    def _set_offset(self, group: str, at: TopicPartition, offset: int | None, metadata: str) -> None:
        if offset is not None:
            self.groups.setdefault(group, {})[at] = Committed(offset, metadata)
        elif group in self.groups:
            self.groups[group].pop(at, None)
            if not self.groups[group]:
                del self.groups[group]

    def _forget_offsets(self, topic: str) -> None:
        for group in list(self.groups):
            kept = {at: c for at, c in self.groups[group].items() if at.topic != topic}
            if kept:
                self.groups[group] = kept
            else:
                del self.groups[group]


class _OutOfOrderError(Exception):
    """A batch does not continue its partition."""


def _nearest(name: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]!r}?" if near else "Create it first."
