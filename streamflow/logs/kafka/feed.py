"""A feed: what was fetched of one partition for one reader, ahead of it and bounded; no task, no connection."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from streamflow.logs.kafka.parse import Fetched, Stored
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import StreamflowError

SEQUENTIAL_READS: Final = 2  # so many reads in a row, and the next ones are fetched ahead


@dataclass(slots=True, kw_only=True, eq=False)
class Feed:
    """Batches from `start` (inclusive) to `next_offset` (exclusive), in order. Offsets without a batch are gaps."""

    at: TopicPartition
    start: int
    next_offset: int
    now_s: float  # when it was made
    batches: deque[Stored] = field(default_factory=deque)
    size_bytes: int = 0
    end: int = -1  # last stable offset, as last told
    high: int = -1  # high watermark, as last told

    want_bytes: int = 0  # what its reader takes at a time
    expected: int = -1  # where a sequential reader comes next
    in_a_row: int = 0
    demands: int = 0  # reads that wait
    polled_until_s: float = 0.0
    read_s: float = 0.0  # last read or wait
    moved_s: float = 0.0  # last answer that brought something, or said that nothing is there

    fetching: bool = False  # a request without wait is under way
    polling: bool = False  # a request that waits at the broker is under way
    alone: bool = False  # a batch was cut: the next request is for this partition only
    answered: int = 0  # number of the last request that was answered for exactly this state
    failure: StreamflowError | None = None  # for the next read
    trouble: str = ""  # why nothing comes, while nothing comes
    trouble_s: float = 0.0
    retry_s: float = 0.0  # not before
    tries: int = 0
    _waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.read_s = self.moved_s = self.now_s

    def holds(self, offset: int) -> bool:
        """Whether a reader at `offset` finds its place here."""
        return self.start <= offset <= self.next_offset

    def has_more(self, offset: int) -> bool:
        """Whether something at or past `offset` was fetched."""
        return bool(self.batches) and self.batches[-1].last_offset >= offset

    def at_end(self) -> bool:
        return 0 <= self.end <= self.next_offset

    def take(self, offset: int, size_bytes_max: int) -> list[Stored]:
        """Batches from `offset` on; what lies before is let go. They stay here until a later read passes them."""
        while self.batches and self.batches[0].covers < offset:
            self.size_bytes -= self.batches.popleft().size_bytes
        self.start = max(self.start, offset)
        taken: list[Stored] = []
        size = 0
        for one in self.batches:
            if one.last_offset < offset:
                continue  # only its gap reaches here
            size += one.size_bytes
            if taken and size > size_bytes_max:
                break
            taken.append(one)
        return taken

    def add(self, fetched: Fetched) -> None:
        """What came of a request at `next_offset`."""
        if not fetched.batches and self.batches and fetched.next_offset > self.next_offset:
            self.batches[-1].covers = fetched.next_offset - 1
        self.batches.extend(fetched.batches)
        self.size_bytes += sum(b.size_bytes for b in fetched.batches)
        self.next_offset = max(self.next_offset, fetched.next_offset)

    def read_at(self, offset: int, size_bytes_max: int, now_s: float) -> None:
        """Note a read, to tell those who go on from those who look once."""
        self.in_a_row = self.in_a_row + 1 if offset == self.expected else 1
        self.want_bytes = size_bytes_max
        self.read_s = now_s

    def recovered(self) -> None:
        self.trouble, self.tries, self.retry_s = "", 0, 0.0

    def waiter(self) -> asyncio.Future[None]:
        """Done when something changed here."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def forget(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
