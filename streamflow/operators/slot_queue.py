"""Who may go on and who waits: slots, shares of keys, and a rate, with a queue of those for whom there is none.

Plain rules without rows or stores; one entry after another, so that how a stream is cut shows nowhere. What it knows
is handed in when it is made anew after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

RANK_MAX: Final = 1 << 62
_NS: Final = 1_000_000  # of a millisecond


@dataclass(frozen=True, slots=True)
class SlotRules:
    """`slots_max` (None: any number) go on at once, `share_max` of one key. Of them `rate_count` begin in `rate_per_ms`
    on the long run (0: any number), and `burst` at once at the most. `aging_ms`: to wait so long counts as one priority
    (0: as none). `queue_max` may wait.
    """

    slots_max: int | None = None
    share_max: int | None = None
    rate_count: int = 0
    rate_per_ms: int = 1_000
    burst: int = 1
    aging_ms: int = 0
    queue_max: int = 10_000

    @property
    def interval_ns(self) -> int:
        """Between two beginnings, where they are evenly spaced."""
        return max(1, self.rate_per_ms * _NS // self.rate_count) if self.rate_count else 0

    def rank(self, priority: int, now_ms: int) -> int:
        """What the queue is ordered by, the least first. Whoever ages gains on all others alike, so that this does not
        change while they wait.
        """
        if not self.aging_ms:
            return -priority
        return max(-RANK_MAX, min(RANK_MAX, now_ms - priority * self.aging_ms))


@dataclass(frozen=True, slots=True, order=True)
class Queued:
    """One that waits; `number` is its place in the order of arrival."""

    rank: int
    number: int
    key: bytes = field(compare=False, default=b"")


class SlotQueue:
    """The queue, and how many of each key have a slot."""

    def __init__(self, rules: SlotRules) -> None:
        self.rules = rules
        self.next_ns = 0  # when the next one would begin, were all evenly spaced
        self.used: Counter[bytes] = Counter()  # slots by key
        self.slots = 0
        self._heaps: dict[bytes, list[Queued]] = {}
        self._ready: list[Queued] = []  # heads of keys that had a share left; some are no heads any more
        self._offered: set[int] = set()  # numbers of these
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Queued]:
        """Those that wait, in no order."""
        for heap in self._heaps.values():
            yield from heap

    def add(self, one: Queued) -> None:
        """It waits."""
        heap = self._heaps.setdefault(one.key, [])
        heappush(heap, one)
        self._size += 1
        if heap[0] is one:
            self._offer(one.key)

    def hold(self, key: bytes) -> None:
        """A slot is taken."""
        self.used[key] += 1
        self.slots += 1

    def free(self, key: bytes) -> None:
        """A slot is given back."""
        self.used[key] -= 1
        self.slots -= 1
        if not self.used[key]:
            del self.used[key]
        self._offer(key)

    def take(self, now_ms: int) -> Queued | None:
        """The next one that may go on now: it has left the queue, has a slot, and counts for the rate. None: nobody."""
        head = self._head()
        if head is None or not self._in_rate(now_ms):
            return None
        self._withdraw()
        heappop(self._heaps[head.key])
        if not self._heaps[head.key]:
            del self._heaps[head.key]
        self._size -= 1
        if self.rules.rate_count:
            self.next_ns = max(self.next_ns, now_ms * _NS) + self.rules.interval_ns
        if self.rules.slots_max is not None:
            self.hold(head.key)
        self._offer(head.key)
        return head

    def goes_on(self, key: bytes, now_ms: int) -> bool:
        """Whether one of this key that came now would not have to wait."""
        return self._is_room() and self._has_share(key) and self._in_rate(now_ms)

    def due_ms(self) -> int | None:
        """When the rate lets the next one go on; None: it is not the rate that anybody waits for."""
        if not self.rules.rate_count or self._head() is None:
            return None
        return -(-(self.next_ns - self._ahead_ns()) // _NS)

    def _offer(self, key: bytes) -> None:
        heap = self._heaps.get(key)
        if heap and self._has_share(key) and heap[0].number not in self._offered:
            self._offered.add(heap[0].number)
            heappush(self._ready, heap[0])

    def _withdraw(self) -> None:
        self._offered.discard(heappop(self._ready).number)

    def _head(self) -> Queued | None:
        """The best of those for whom there is a slot."""
        if not self._is_room():
            return None
        while self._ready:
            head = self._ready[0]
            heap = self._heaps.get(head.key)
            if heap and heap[0] is head and self._has_share(head.key):
                return head
            self._withdraw()
        return None

    def _is_room(self) -> bool:
        return self.rules.slots_max is None or self.slots < self.rules.slots_max

    def _has_share(self, key: bytes) -> bool:
        return self.rules.share_max is None or self.used[key] < self.rules.share_max

    def _in_rate(self, now_ms: int) -> bool:
        return not self.rules.rate_count or self.next_ns - self._ahead_ns() <= now_ms * _NS

    def _ahead_ns(self) -> int:
        return (self.rules.burst - 1) * self.rules.interval_ns
