"""Start-time fair queueing: what waits is taken in turns, so that each flow gets of a resource in proportion to its
weight.

Each flow has a tag, the virtual time up to which it has been served: what it used divided by its weight. The one with
the smallest tag is next, and virtual time is the tag of what was taken last. A flow that had nothing waiting begins at
virtual time, less what one of its jobs takes: it has lost nothing by being idle, and saved nothing up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
_SHARE_OF_LAST = 0.2  # of what the last job took, in what the next one is expected to take


@dataclass(slots=True)
class Flow(Generic[T]):
    """What one workflow has waiting, first in first out, and what it had so far."""

    name: str
    weight: int
    tag: float = 0.0
    expected: float = 0.0  # cost of its next job, by those before it
    waiting: deque[T] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A job that was taken, and what it was expected to cost."""

    flow: Flow[T]
    job: T
    charged: float


class FairQueue(Generic[T]):
    """Jobs of several flows. Costs may be known only when a job is done; any unit, the same for all. Not for several
    threads at once.
    """

    def __init__(self) -> None:
        self._flows: dict[str, Flow[T]] = {}
        self._now = 0.0  # virtual time
        self._count = 0

    def __len__(self) -> int:
        """Jobs that wait."""
        return self._count

    def join(self, name: str, weight: int) -> Flow[T]:
        """A flow of that name; a new weight holds from now on."""
        flow = self._flows.setdefault(name, Flow(name, weight, tag=self._now))
        flow.weight = weight
        return flow

    def leave(self, name: str) -> None:
        """The flow is gone, and what it had waiting."""
        if (flow := self._flows.pop(name, None)) is not None:
            self._count -= len(flow.waiting)
            flow.waiting.clear()

    def push(self, flow: Flow[T], job: T) -> None:
        """A job waits, behind the others of its flow."""
        if not flow.waiting:
            flow.tag = max(flow.tag, self._now - flow.expected / flow.weight)
        flow.waiting.append(job)
        self._count += 1

    def first(self) -> T | None:
        """What is next, if anything waits."""
        flow = self._next()
        return None if flow is None else flow.waiting[0]

    def pop(self) -> Taken[T] | None:
        """Take what is next. Tell `done` what it cost."""
        flow = self._next()
        if flow is None:
            return None
        self._count -= 1
        self._now = max(self._now, flow.tag)
        flow.tag += flow.expected / flow.weight
        return Taken(flow, flow.waiting.popleft(), flow.expected)

    def done(self, taken: Taken[T], cost: float) -> None:
        """What a job that was taken did cost."""
        flow = taken.flow
        flow.tag += (cost - taken.charged) / flow.weight
        flow.expected += _SHARE_OF_LAST * (cost - flow.expected) if flow.expected else cost

    def share(self, flow: Flow[T]) -> float:
        """What part of something one more job of a flow has beside all that wait: by weights, then by their number."""
        others = sum(other.weight for other in self._flows.values() if other.waiting and other is not flow)
        return flow.weight / (flow.weight + others) / (len(flow.waiting) + 1)

    def remove(self, flow: Flow[T], job: T) -> None:
        """A job does not wait any more. Raises ValueError where it did not."""
        flow.waiting.remove(job)
        self._count -= 1

    def _next(self) -> Flow[T] | None:
        if not self._count:
            return None
        return min((flow for flow in self._flows.values() if flow.waiting), key=lambda flow: flow.tag)
