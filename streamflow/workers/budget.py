"""The bound on what all tasks of a process hold together: bytes and executions taken and not yet committed.

Without deadlock, since nobody waits while holding: a task that holds something and finds no room commits first, gives
back what it read ahead, and then stands in the line. So whoever holds something can finish and commit without asking
for more. The line is fair between workflows by their weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from streamflow.sdk.budget import Holder
from streamflow.workers.fair_queue import FairQueue, Flow


@dataclass(slots=True, eq=False)
class _Claim:
    holder: Holder
    flow: Flow[_Claim]
    size_bytes: int
    executions: int
    since_s: float


@dataclass(slots=True)
class Waits:
    """How tasks of a workflow waited for their part."""

    count: int = 0
    seconds: float = 0.0


class SharedBudget:
    """What the tasks of one process may hold. On one event loop; workflows use it through their `part`."""

    def __init__(self, *, bytes_max: int, executions_max: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.bytes_max, self.executions_max, self._clock_s = bytes_max, executions_max, clock_s
        self.bytes_used = self.executions_used = 0
        self.bytes_peak = self.executions_peak = 0
        self._line: FairQueue[_Claim] = FairQueue()
        self._waiting: dict[Holder, _Claim] = {}
        self._waits: dict[str, Waits] = {}

    def part(self, workflow: str, weight: int = 1) -> Part:
        """The budget as the tasks of one workflow see it."""
        return Part(self, self._line.join(workflow, weight), self._waits.setdefault(workflow, Waits()))

    def ask(self, flow: Flow[_Claim], holder: Holder, size_bytes: int, *, executions: int, line_up: bool) -> bool:
        """See `sdk.budget.Budget`."""
        if holder in self._waiting:
            return False
        if not self._line and self._fits(size_bytes, executions):
            self.change(size_bytes, executions)
            return True
        if line_up:
            claim = self._waiting[holder] = _Claim(holder, flow, size_bytes, executions, self._clock_s())
            self._line.push(flow, claim)
            self._serve()  # its flow may be first, and need less than who was
        return False

    def change(self, size_bytes: int, executions: int = 0) -> None:
        self.bytes_used += size_bytes
        self.executions_used += executions
        assert self.bytes_used >= 0, "given back twice"
        assert self.executions_used >= 0, "given back twice"
        self.bytes_peak = max(self.bytes_peak, self.bytes_used)
        self.executions_peak = max(self.executions_peak, self.executions_used)
        if size_bytes < 0 or executions < 0:
            self._serve()

    def leave(self, holder: Holder) -> None:
        """See `sdk.budget.Budget`."""
        if (claim := self._waiting.pop(holder, None)) is not None:
            self._line.remove(claim.flow, claim)
            self._serve()  # those behind it may need less

    @property
    def waiting(self) -> int:
        """Tasks in the line."""
        return len(self._line)

    def executions_for(self, flow: Flow[_Claim], has: int) -> int:
        """See `sdk.budget.Budget`."""
        left = max(0, self.executions_max - self.executions_used)
        return max(min(has, 1), int((left + has) * self._line.share(flow)))

    def _fits(self, size_bytes: int, executions: int) -> bool:
        # Who needs more than there is gets it when nobody else holds anything.
        room = self.bytes_used == 0 or self.bytes_used + size_bytes <= self.bytes_max
        return room and (not executions or self.executions_used + executions <= self.executions_max)

    def _serve(self) -> None:
        while (claim := self._line.first()) is not None and self._fits(claim.size_bytes, claim.executions):
            taken = self._line.pop()
            assert taken is not None, "there is a first one"
            self._line.done(taken, claim.size_bytes)
            del self._waiting[claim.holder]
            waits = self._waits[claim.flow.name]
            waits.count += 1
            waits.seconds += self._clock_s() - claim.since_s
            # More than it asked for: whoever came first would take the rest, and the others go record by record.
            executions = max(claim.executions, self.executions_for(claim.flow, 0)) if claim.executions else 0
            self.change(claim.size_bytes, executions)
            claim.holder.granted(executions)


class Part:
    """The `Budget` of one workflow's tasks, which share it with those of all others."""

    def __init__(self, shared: SharedBudget, flow: Flow[_Claim], waits: Waits) -> None:
        self._shared, self._flow, self.waits = shared, flow, waits

    def ask(self, holder: Holder, size_bytes: int, *, executions: int, line_up: bool) -> bool:
        return self._shared.ask(self._flow, holder, size_bytes, executions=executions, line_up=line_up)

    def change(self, size_bytes: int, executions: int = 0) -> None:
        self._shared.change(size_bytes, executions)

    def leave(self, holder: Holder) -> None:
        self._shared.leave(holder)

    @property
    def waited_for(self) -> bool:
        return self._shared.waiting > 0

    def executions_for(self, has: int) -> int:
        return self._shared.executions_for(self._flow, has)
