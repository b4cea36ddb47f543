"""Positions on a log."""

from __future__ import annotations

from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class OffsetRange(NamedTuple):
    """Offsets `first` (inclusive) to `end` (exclusive)."""

    first: int
    end: int


class Committed(NamedTuple):
    """What a group committed for a partition: the next offset to read, and a small note of the committer."""

    offset: int
    metadata: str = ""


def position_of(execution: str) -> tuple[str, str, int, int] | None:
    """(topic, incarnation, partition, offset) of an id that is the place of a trigger item. None: it is no place, as
    those of windows and pairs.
    """
    source, _, offset = execution.rpartition(":")
    named, _, partition = source.rpartition("/")
    topic, _, incarnation = named.rpartition("#")
    if not topic or "+" in topic or not (offset.isdecimal() and partition.isdecimal()):
        return None
    return topic, incarnation, int(partition), int(offset)
