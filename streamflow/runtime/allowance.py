"""What one task holds of the budget of its process: read and not stepped, stepped and not committed, read ahead.

It asks before it reads, for the most that may come, and gives back what did not. While it holds something it does not
wait: without room it commits, gives back what it read ahead or holds for a later turn, and then stands in the line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from streamflow.model.positions import TopicPartition
from streamflow.sdk.budget import Budget
from streamflow.sdk.log import RecordBatch


class Allowance:
    """Of one task, on its event loop. Without a budget everything is allowed."""

    def __init__(self, budget: Budget | None, counted: Collection[TopicPartition] = ()) -> None:
        """`counted`: inputs whose records begin executions."""
        self._budget, self._counted = budget, frozenset(counted)
        self._reserved = 0  # bytes for what is read now
        self._first = 0  # executions for that: at least one, so that something of what comes can be taken
        self._ahead: dict[TopicPartition, int] = {}
        self._hand: dict[TopicPartition, tuple[int, int]] = {}  # read, not stepped yet: bytes, executions
        self._pending = (0, 0)  # of steps since the last commit
        self._ends: dict[TopicPartition, int] = {}  # up to where what was read may be taken
        self._asked = (0, 0)  # what it stands in the line for
        self._turn = asyncio.Event()
        self.blocked = False  # when last asked, there was no room
        self.lined_up = False
        self._granted = False  # since it was last asked what may be read

    @property
    def short(self) -> bool:
        """Whether somebody waits for what this task may give back: it commits at once."""
        return self.blocked or (self._budget is not None and self._budget.waited_for)

    @property
    def _holds(self) -> bool:
        return bool(self.held_bytes or self._first or self._pending[1])

    @property
    def held_bytes(self) -> int:
        """All that it has of the budget."""
        read = sum(size for size, _ in self._hand.values())
        return self._reserved + sum(self._ahead.values()) + read + self._pending[0]

    def may_read(self, size_bytes: int) -> bool:
        """Whether that much may be read now, with what was read ahead and taken to hand."""
        if self._budget is None:
            return True
        self._granted = False
        asked = max(0, size_bytes - self._reserved), max(0, (1 if self._counted else 0) - self._first)
        if asked == (0, 0):
            self.blocked = False
            return True
        if self._budget.ask(self, asked[0], executions=asked[1], line_up=False):
            self._reserved, self._first = self._reserved + asked[0], self._first + asked[1]
            self.blocked = False
        elif self._holds or self.lined_up:
            self.blocked = True
        else:
            self._asked, self.lined_up = asked, True
            self._turn.clear()
            self._budget.ask(self, asked[0], executions=asked[1], line_up=True)
            self.blocked = self.lined_up
        return not self.blocked

    def read(self, came: Sequence[tuple[TopicPartition, int, Sequence[RecordBatch]]]) -> None:
        """What came of it, each from an offset on; nothing more is read for now, and nothing waited for."""
        if self._budget is None:
            return
        self._leave()
        self.blocked = False
        size = executions = 0
        left, first = self._budget.executions_for(self._first), self._first
        unserved = sum(at in self._counted for at, _, _ in came)
        for at, start, batches in came:
            held = sum(len(batch.body) for batch in batches)
            self._ends.pop(at, None)
            count = 0
            if at in self._counted:
                # One at least of each: where inputs are merged, one without rows would keep all others waiting.
                count, end = _portion(batches, start, max(1, left // unserved))
                left, unserved = left - count, unserved - 1
                if end is not None:
                    self._ends[at] = end
            self._hand[at] = (held, count)
            size, executions = size + held, executions + count
        reserved, self._reserved, self._first = self._reserved, 0, 0
        self._budget.change(size - reserved, executions - first)

    def until(self, at: TopicPartition) -> int | None:
        """Up to which offset what was read of an input may be taken; None: all of it."""
        return self._ends.pop(at, None)

    def read_ahead(self, at: TopicPartition, size_bytes: int) -> bool:
        """Whether so much of an input may be read before it is asked for."""
        if self._budget is None:
            return True
        if not self._budget.ask(self, size_bytes, executions=0, line_up=False):
            return False
        self._ahead[at] = size_bytes
        return True

    def came_ahead(self, at: TopicPartition, size_bytes: int) -> None:
        """What was read ahead is there: it counts from now on as what it is, and no more as what it might be."""
        if self._budget is not None and at in self._ahead:
            reserved, self._ahead[at] = self._ahead[at], size_bytes
            self._budget.change(size_bytes - reserved)

    def use_ahead(self, at: TopicPartition) -> None:
        """What was read ahead is taken to hand; `read` is told of it."""
        self._reserved += self._ahead.pop(at, 0)

    def made(self, size_bytes: int) -> None:
        """Outputs wait for the commit."""
        if self._budget is not None:
            self._pending = (self._pending[0] + size_bytes, self._pending[1])
            self._budget.change(size_bytes)

    def stepped(self, still: Collection[TopicPartition]) -> None:
        """What was in hand waits for the commit now, but for those inputs of which something is held yet."""
        for at in [at for at in self._hand if at not in still]:
            size, executions = self._hand.pop(at)
            self._pending = (self._pending[0] + size, self._pending[1] + executions)

    def over(self, still: Collection[TopicPartition]) -> None:
        """The turn is over: what is in hand was dropped, but for those inputs of which something is held yet."""
        dropped = [self._hand.pop(at) for at in [at for at in self._hand if at not in still]]
        if self._budget is not None and dropped:
            self._budget.change(-sum(size for size, _ in dropped), -sum(count for _, count in dropped))

    def committed(self) -> None:
        """What was pending is on the log."""
        if self._budget is not None:
            (size, executions), self._pending = self._pending, (0, 0)
            self._budget.change(-size, -executions)

    def give_way(self) -> None:
        """Nothing is held but what is pending: the task has dropped what it read ahead and held.

        Who stands in the line has done so, and keeps what it may have been granted since.
        """
        if self._budget is None or self.lined_up or self._granted:
            return
        size = self.held_bytes - self._pending[0]
        executions = self._first + sum(count for _, count in self._hand.values())
        self._reserved = self._first = 0
        for held in (self._ahead, self._hand, self._ends):
            held.clear()
        self._budget.change(-size, -executions)

    def clear(self) -> None:
        """Nothing is held, and nothing waited for."""
        if self._budget is None:
            return
        self._leave()
        self._granted = False
        self.give_way()
        self.committed()
        self.blocked = False

    def _leave(self) -> None:
        if self.lined_up and self._budget is not None:
            self.lined_up = False
            self._budget.leave(self)

    def granted(self, executions: int) -> None:
        self._reserved, self._first = self._asked[0], executions
        self._granted = True
        self.lined_up = False
        self._turn.set()

    async def wait(self, timeout_ms: int) -> None:
        """After it was refused: until it may read, or the time is over. At once where it does not stand in line yet."""
        if not self.lined_up:
            await asyncio.sleep(0)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_ms / 1_000):
                    await self._turn.wait()


def _portion(batches: Sequence[RecordBatch], start: int, count_max: int) -> tuple[int, int | None]:
    """How many records of those from an offset on may be taken, and up to where; None: all of them.

    Between two offsets may be far fewer records, as in a topic that was compacted.
    """
    count = 0
    for batch in batches:
        first = max(start, batch.base_offset)
        here, left = min(batch.count, batch.last_offset + 1 - first), count_max - count
        if here > left:
            return count_max, first + left
        count += here
    return count, None
