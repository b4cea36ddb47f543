"""What each reader of the log is doing: who gets on, who waits for records, and who is stuck, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from streamflow.logs.kafka.feed import Feed
from streamflow.model.positions import TopicPartition

State = Literal["fetching", "idle", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHealth:
    """One reader of a partition.

    `lag`: offsets between `position` and the committed end as last seen, -1 before the first answer.
    `held_back`: offsets behind the committed end, which an open transaction hides from every reader.
    `progress_ago_s`: since the broker last said something of this partition. `reason`: why it is stuck.
    """

    at: TopicPartition
    state: State
    position: int
    lag: int
    held_back: int
    progress_ago_s: float
    buffered_bytes: int
    reason: str = ""


def health(feeds: Iterable[Feed], now_s: float) -> list[PartitionHealth]:
    """The state of every feed, ordered by partition and position."""
    found = []
    for feed in feeds:
        position = max(feed.start, feed.expected)
        reason = feed.trouble or (str(feed.failure) if feed.failure is not None else "")
        # Who reads no more (a task that is busy, or gone) is not stuck: nothing is asked of the broker.
        busy = bool(feed.demands or feed.fetching or not feed.at_end())
        found.append(
            PartitionHealth(
                at=feed.at,
                state="stuck" if reason else "fetching" if busy else "idle",
                position=position,
                lag=-1 if feed.end < 0 else max(0, feed.end - position),
                held_back=max(0, feed.high - feed.end),
                progress_ago_s=now_s - feed.moved_s,
                buffered_bytes=feed.size_bytes,
                reason=reason,
            )
        )
    return sorted(found, key=lambda h: (h.at, h.position))
