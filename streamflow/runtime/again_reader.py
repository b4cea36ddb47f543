"""Reads what a task is given again, between its steps, and commits what came of it with the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.again import AgainInput
from streamflow.runtime.journal import JournalStep
from streamflow.runtime.stepped import Stepped
from streamflow.sdk.errors import Stopped
from streamflow.sdk.log import Log, RecordBatch


class AgainReader:
    """Drives an `AgainInput` on the task's event loop."""

    def __init__(
        self,
        given: AgainInput | None,
        log: Log,
        *,
        compute: Callable[[Callable[[], Stepped]], Awaitable[Stepped]],
        before: Callable[[], Awaitable[None]],
        done: Callable[[Stepped, int, Sequence[JournalStep]], None],
        clock_s: Callable[[], float],
        step_bytes_max: int,
        look_every_ms: int,
    ) -> None:
        """`before`: commits what is pending: a step that stops the workflow takes nothing else with it. `done`: takes a
        step in for the next commit.
        """
        self.given = given
        self.positions: dict[TopicPartition, int] = {}
        self._log, self._compute, self._before, self._done = log, compute, before, done
        self._step_bytes_max, self._look_every_s = step_bytes_max, look_every_ms / 1000
        self._clock_s, self._looked_s = clock_s, 0.0

    async def begin(self, group: str, at_log: Log) -> None:
        """Stand where the group stands; `at_log` keeps its positions."""
        if self.given is None:
            return
        at = self.given.at
        known = (await at_log.committed(group, [at])).get(at)
        start, _ = await self._log.offsets(at)
        self.positions = {at: max(start, known.offset) if known is not None else start}

    async def look(self, now_ms: int, *, idle: bool) -> bool | Stopped:
        """Take in what is there, if the task is idle or it is time. False: nothing was there."""
        if self.given is None or not (idle or self._clock_s() - self._looked_s >= self._look_every_s):
            return False
        self._looked_s = self._clock_s()
        ((at, first),) = self.positions.items()
        batches = await self._log.read(at, first, size_bytes_max=self._step_bytes_max)
        if not batches:
            return False
        await self._before()
        return await self.take_in(batches, batches[-1].last_offset + 1, now_ms)

    async def take_in(self, batches: Sequence[RecordBatch], end: int, now_ms: int) -> bool | Stopped:
        """A step. Stopped: a record stops the workflow, and nothing of the step counts."""
        given = self.given
        assert given is not None
        first = self.positions[given.at]
        made = await self._compute(lambda: given.step(batches, first, end, now_ms))
        if made.stop is not None:
            return Stopped(f"{made.stop.text} (given again, record {given.at} offset {made.stop.offset}).")
        self._done(made, now_ms, ())
        self.positions[given.at] = end
        return True

    def offsets(self) -> Mapping[TopicPartition, Committed]:
        """What the group is to keep."""
        return {at: Committed(position, "") for at, position in self.positions.items()}
