"""Fetcher: one loop for all readers of a log. Every request asks a broker for all partitions that want something.

A read that finds nothing fetched makes its feed `demand`; a reader that goes on is fetched ahead; `wait` makes the
broker hold a request until something comes. Requests of the two kinds use connections of their own, because a broker
answers a connection in order: a read never waits behind a wait. Two requests may wait at a broker, so that one who
begins to wait need not wait for the others' request to end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from streamflow.logs.kafka.cluster import Again, Cluster, refused
from streamflow.logs.kafka.codes import AGAIN, LEADER_MOVED, Code, name_of
from streamflow.logs.kafka.feed import SEQUENTIAL_READS, Feed
from streamflow.logs.kafka.options import KafkaOptions
from streamflow.logs.kafka.parse import parse
from streamflow.logs.kafka.positions import READ_COMMITTED
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.wire import FetchedPart, FetchRequest, fetched_parts
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogCorrupt, LogError, OffsetOutOfRange, StreamflowError

READERS_MAX: Final = 4  # feeds of one partition; a fifth reader takes the place of the one that was away longest
_PART_BYTES_MIN: Final = 256 << 10
_AHEAD_BYTES_MIN: Final = 2 << 20
_POLLS: Final = ("wait-0", "wait-1")
_FETCH: Final = "fetch"
_RETRY_S_MIN, _RETRY_S_MAX = 0.02, 1.0


class Fetcher:
    """Keeps feeds filled. `stop` ends its requests."""

    def __init__(self, cluster: Cluster, options: KafkaOptions) -> None:
        self._cluster, self._options = cluster, options
        self._feeds: dict[TopicPartition, list[Feed]] = {}
        self._busy: set[tuple[int, str]] = set()  # (broker, connection) with a request under way
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._requests = 0
        self._stopped = False

    @property
    def requests(self) -> int:
        """Requests begun so far; an answer to a later one tells what is there now."""
        return self._requests

    def feeds(self) -> Iterator[Feed]:
        for feeds in self._feeds.values():
            yield from feeds

    def feed(self, at: TopicPartition, offset: int) -> Feed:
        """The feed for a reader at `offset`; a new one where none fits."""
        feeds = self._feeds.setdefault(at, [])
        for feed in feeds:
            if feed.holds(offset) and feed.failure is None:
                return feed
        if len(feeds) >= READERS_MAX:
            idle = [f for f in feeds if not f.demands]
            if idle:
                feeds.remove(min(idle, key=lambda f: f.read_s))
        feed = Feed(at=at, start=offset, next_offset=offset, now_s=time.monotonic())
        feeds.append(feed)
        return feed

    def drop(self, feed: Feed) -> None:
        feeds = self._feeds.get(feed.at, [])
        if feed in feeds:
            feeds.remove(feed)
            if not feeds:
                del self._feeds[feed.at]

    def drop_partition(self, at: TopicPartition) -> None:
        """What was fetched is not true any more: records were deleted."""
        for feed in self._feeds.pop(at, []):
            feed.wake()

    def drop_topic(self, name: str) -> None:
        for at in [at for at in self._feeds if at.topic == name]:
            self.drop_partition(at)

    def pump(self) -> None:
        """Look, in this turn of the event loop, which requests are due."""
        if self._scheduled is None and not self._stopped:
            self._scheduled = asyncio.get_running_loop().call_soon(self._pump)

    async def stop(self) -> None:
        self._stopped = True
        for handle in (self._scheduled, self._timer):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for feed in list(self.feeds()):
            feed.failure = LogError("the log was closed.", mend="Open it before use.")
            feed.wake()
        self._feeds.clear()

    # Which requests are due

    def _pump(self) -> None:
        self._scheduled = None
        now_s = time.monotonic()
        self._expire(now_s)
        buffered = sum(f.size_bytes for f in self.feeds())
        fetches: dict[int, list[Feed]] = {}
        polls: dict[int, list[Feed]] = {}
        lost: list[Feed] = []
        next_s = now_s + self._options.buffer_idle_ms / 1000 if self._feeds else None
        for feeds in self._feeds.values():
            asked = polled = False  # a request names a partition once
            for feed in feeds:
                if feed.failure is not None:
                    continue
                due = not feed.fetching and not asked and self._is_due(feed, now_s, buffered)
                # Who is at the end is polled even while it looks once more: left out, it had to wait for the next poll.
                wait = not feed.polling and not polled and self._may_poll(feed, now_s) and (not due or feed.at_end())
                if not due and not wait:
                    continue
                if feed.retry_s > now_s:
                    next_s = feed.retry_s if next_s is None else min(next_s, feed.retry_s)
                    continue
                leader = self._cluster.wire.leader(feed.at)
                if leader is None or leader < 0:
                    lost.append(feed)
                    continue
                if due:
                    asked = True
                    fetches.setdefault(leader, []).append(feed)
                if wait:
                    polled = True
                    polls.setdefault(leader, []).append(feed)
        for node, due_now in fetches.items():
            if (node, _FETCH) not in self._busy:
                self._start(node, _FETCH, due_now)
        for node, waiting in polls.items():
            free = next((slot for slot in _POLLS if (node, slot) not in self._busy), None)
            if free is not None:
                self._start(node, free, waiting)
        for feed in lost:
            self._find(feed)
        self._wake_at(next_s)

    def _is_due(self, feed: Feed, now_s: float, buffered: int) -> bool:
        if feed.demands:
            return True
        ahead = max(_AHEAD_BYTES_MIN, 2 * feed.want_bytes)
        return (
            feed.in_a_row >= SEQUENTIAL_READS
            and not feed.at_end()
            and feed.size_bytes < ahead
            and buffered < self._options.buffer_bytes_max
        )

    def _may_poll(self, feed: Feed, now_s: float) -> bool:
        return feed.polled_until_s > now_s and feed.size_bytes < _AHEAD_BYTES_MIN

    def _expire(self, now_s: float) -> None:
        """Let go what nobody read for a while."""
        idle_s = self._options.buffer_idle_ms / 1000
        for feed in list(self.feeds()):
            if not feed.demands and feed.polled_until_s < now_s and feed.read_s + idle_s <= now_s:
                self.drop(feed)

    def _wake_at(self, when_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, when_s - time.monotonic()), self.pump)

    # Requests

    def _start(self, node: int, slot: str, feeds: list[Feed]) -> None:
        alone = next((f for f in feeds if f.alone), None)
        if alone is not None:
            feeds = [alone]
        self._requests += 1
        for feed in feeds:
            if slot == _FETCH:
                feed.fetching = True
            else:
                feed.polling = True
        self._busy.add((node, slot))
        asked = [(feed, feed.next_offset) for feed in feeds]
        task = asyncio.get_running_loop().create_task(self._request(node, slot, asked, self._requests))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _request(self, node: int, slot: str, asked: list[tuple[Feed, int]], number: int) -> None:
        options = self._options
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for feed, offset in asked:
            size = min(max(feed.want_bytes, _PART_BYTES_MIN), options.partition_bytes_max)
            topics.setdefault(feed.at.topic, []).append((feed.at.partition, offset, size))
        request = FetchRequest(
            0 if slot == _FETCH else options.fetch_wait_ms,
            1,
            options.fetch_bytes_max,
            READ_COMMITTED,
            list(topics.items()),
        )
        try:
            answer = await self._cluster.wire.call(node, request, slot)
        except Unanswered as error:
            self._cluster.wire.stale()
            for feed, _ in asked:
                self._troubled(feed, error.why)
        except StreamflowError as error:
            for feed, _ in asked:
                feed.failure = error
        else:
            parts = {part.at: part for part in fetched_parts(answer)}
            for feed, offset in asked:
                part = parts.get(feed.at)
                if part is not None and feed.next_offset == offset:  # else the other request was quicker
                    self._answered(feed, number, part, alone=len(asked) == 1)
        finally:
            self._busy.discard((node, slot))
            for feed, _ in asked:
                if slot == _FETCH:
                    feed.fetching = False
                else:
                    feed.polling = False
                feed.wake()
            self.pump()

    def _answered(self, feed: Feed, number: int, part: FetchedPart, *, alone: bool) -> None:
        code = part.code
        if code == Code.NONE:
            try:
                fetched = parse(part.stored, feed.next_offset, part.aborted)
                if fetched.cut and alone and fetched.next_offset == feed.next_offset:
                    raise LogCorrupt(f"{feed.at} offset {feed.next_offset}: a record batch is cut.")
            except StreamflowError as error:
                feed.failure = error
                return
            feed.recovered()
            feed.alone = fetched.cut and fetched.next_offset == feed.next_offset
            feed.add(fetched)
            feed.end, feed.high = part.end, part.high
            feed.moved_s = time.monotonic()
            if not feed.alone:
                feed.answered = number
        elif code == Code.OFFSET_OUT_OF_RANGE:
            feed.failure = OffsetOutOfRange(f"{feed.at}: offset {feed.next_offset} is not there.")
        elif code in LEADER_MOVED or code in AGAIN or code == Code.UNKNOWN_TOPIC_OR_PARTITION:
            self._cluster.wire.stale()
            self._troubled(feed, f"the broker answers {name_of(code)}")
        else:
            feed.failure = refused(f"read {feed.at}", code)

    def _find(self, feed: Feed) -> None:
        """No broker is known to lead this partition: look again, once for all who wait for it."""
        feed.fetching = True

        async def look() -> None:
            try:
                await self._cluster.leader_of(feed.at)
            except (Again, Unanswered) as error:
                self._troubled(feed, error.why)
            except StreamflowError as error:
                feed.failure = error
            finally:
                feed.fetching = False
                feed.wake()
                self.pump()

        task = asyncio.get_running_loop().create_task(look())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _troubled(self, feed: Feed, why: str) -> None:
        now_s = time.monotonic()
        if not feed.trouble:
            feed.trouble_s = now_s
        feed.trouble = why
        feed.retry_s = now_s + min(_RETRY_S_MAX, _RETRY_S_MIN * 2 ** min(feed.tries, 10))
        feed.tries += 1
