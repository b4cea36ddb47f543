"""Reading: positioned reads and waiting readers over the fetcher's feeds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from streamflow.logs.kafka.feed import Feed
from streamflow.logs.kafka.fetcher import Fetcher
from streamflow.logs.kafka.parse import Stored, gap
from streamflow.logs.kafka.positions import Offsets
from streamflow.logs.kafka.retry import Patience
from streamflow.logs.kafka.settled import Settled
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange, StreamflowError
from streamflow.sdk.log import RecordBatch

_SCAN_BYTES: Final = 8 << 20
_POLL_GRACE_S: Final = 0.5  # who waited comes again at once, most of the time
_INLINE_BYTES_MAX: Final = 128 << 10  # opening less than this is quicker than handing it to a thread


class Reader:
    """Reads of one log."""

    def __init__(self, fetcher: Fetcher, offsets: Offsets, settled: Settled, retry_ms: int) -> None:
        self._fetcher, self._offsets, self._settled, self._retry_ms = fetcher, offsets, settled, retry_ms

    async def read(self, at: TopicPartition, offset: int, size_bytes_max: int) -> list[RecordBatch]:
        """See `sdk.log.Log.read`."""
        stored = await self._stored(at, offset, size_bytes_max)
        if isinstance(stored, int):
            return [gap(offset, stored)] if stored > offset else []
        try:
            return await _opened(stored)
        except StreamflowError:
            self._fetcher.drop_partition(at)  # what came damaged is fetched again by who reads again
            raise

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        """See `sdk.log.Log.offset_for_time`."""
        found = await self._offsets.at_time(at, timestamp_ms)
        while found is not None:
            # The broker may mean a transaction marker, whose time is that of its commit: look for records from there.
            stored = await self._stored(at, found, _SCAN_BYTES)
            if isinstance(stored, int):
                return None
            for one in stored:
                if one.max_timestamp_ms >= timestamp_ms:
                    return one.base_offset
            found = stored[-1].covers + 1
        return None

    async def wait(self, positions: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        """See `sdk.log.Log.wait`. Returns on an error as well: the read that follows raises it."""
        deadline_s = time.monotonic() + timeout_ms / 1000
        feeds = [(self._fetcher.feed(at, offset), offset) for at, offset in positions.items()]
        for feed, _ in feeds:
            feed.read_s = time.monotonic()
            feed.polled_until_s = max(feed.polled_until_s, deadline_s + _POLL_GRACE_S)
        while True:
            if any(f.next_offset > offset or f.failure is not None for f, offset in feeds):
                return
            waiters = [(feed, feed.waiter()) for feed, _ in feeds]
            self._fetcher.pump()
            try:
                async with asyncio.timeout_at(deadline_s - time.monotonic() + asyncio.get_running_loop().time()):
                    await asyncio.wait([w for _, w in waiters], return_when=asyncio.FIRST_COMPLETED)
            except TimeoutError:
                return
            finally:
                for feed, waiter in waiters:
                    feed.forget(waiter)
                    waiter.cancel()

    async def _stored(self, at: TopicPartition, offset: int, size_bytes_max: int) -> list[Stored] | int:
        """Batches from `offset` on, not opened; or, where none is left, the committed end."""
        if offset < 0:
            raise await self._out_of_range(at, offset)
        feed = self._fetcher.feed(at, offset)
        feed.read_at(offset, size_bytes_max, time.monotonic())
        try:
            taken = feed.take(offset, size_bytes_max) or await self._fetched(feed, at, offset, size_bytes_max)
        except OffsetOutOfRange:
            self._fetcher.drop(feed)
            raise await self._out_of_range(at, offset) from None
        except StreamflowError:
            self._fetcher.drop(feed)  # the next read begins afresh
            raise
        if not taken:
            feed.expected = max(offset, feed.next_offset)
            return feed.expected
        feed.expected = taken[-1].covers + 1
        self._fetcher.pump()  # ahead, while this is worked on
        return taken

    async def _fetched(self, feed: Feed, at: TopicPartition, offset: int, size_bytes_max: int) -> list[Stored]:
        """Wait for batches; [] when the committed end, as of this call, is reached. Raises what the feed ran into."""
        patience = Patience(f"read {at} at offset {offset}", self._retry_ms)
        begun = self._fetcher.requests
        feed.demands += 1
        try:
            while True:
                if taken := feed.take(offset, size_bytes_max):
                    return taken
                if feed.failure is not None:
                    raise feed.failure
                if feed.answered > begun and feed.at_end():
                    if not self._settled.pending(at, feed.end):
                        return []
                    await self._settled.wait(at)
                    begun = self._fetcher.requests
                waiter = feed.waiter()
                self._fetcher.pump()
                try:
                    async with asyncio.timeout(patience.left_s):
                        await waiter
                except TimeoutError:
                    raise patience.over(feed.trouble or "the broker sends nothing") from None
                finally:
                    feed.forget(waiter)
        finally:
            feed.demands -= 1

    async def _out_of_range(self, at: TopicPartition, offset: int) -> OffsetOutOfRange:
        start, end = await self._offsets.start(at), await self._offsets.end(at)
        return OffsetOutOfRange(
            f"{at}: offset {offset} lies outside [{start}, {end}].",
            mend="Begin at the start of the partition, or find out who deleted records or the topic.",
        )


async def _opened(taken: Sequence[Stored]) -> list[RecordBatch]:
    if sum(b.size_bytes for b in taken) <= _INLINE_BYTES_MAX:
        return [b.open() for b in taken]
    return await asyncio.to_thread(lambda: [b.open() for b in taken])
