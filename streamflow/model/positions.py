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
