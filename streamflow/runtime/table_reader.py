"""Reads the topics of a task's global tables: all there is before the task begins, and on between its steps; of the
control topic, all that still has an effect.

Each read is a step of the journal. Those whose records another task counts need no commit of their own: they wait until
something looks into what they made, and are then journaled before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from streamflow.model.positions import Committed, OffsetRange, TopicPartition
from streamflow.operators.control import KEPT_MS
from streamflow.runtime.global_tables import GlobalTables
from streamflow.runtime.journal import JournalStep
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.stepped import Stepped
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import Stopped
from streamflow.sdk.log import Log, RecordBatch

Done = Callable[[Stepped, int, Sequence[JournalStep]], None]  # step, time, journal entries of its own
ReadUntil = Callable[[TopicPartition, int, int], Awaitable[list[RecordBatch]]]  # from an offset to before another
Compute = Callable[[Callable[[], Stepped]], Awaitable[Stepped]]
_READ_BYTES_MIN = 64 << 10
_WAITING_MAX = 1_000  # steps that wait to be journaled
_CLOCKS_DIFFER_MS_MAX = 86_400_000  # by how much the clock of a later step may be behind the one it began by


class TableReader:
    """Drives the copies of one task on its event loop."""

    def __init__(
        self,
        program: TaskProgram,
        log: Log,
        compute: Compute,
        done: Done,
        *,
        clock_ms: Callable[[], int],
        clock_s: Callable[[], float],
        step_bytes_max: int,
        look_every_ms: int,
    ) -> None:
        """`compute` runs a step in a thread; `done` takes it in for the next commit. `look_every_ms`: how seldom topics
        are read while there is other work.
        """
        self.tables = GlobalTables(program)
        self.stopped: Stopped | None = None  # by a record, where the policy says so: nothing more is read
        self._log, self._compute, self._done, self._clock_ms = log, compute, done, clock_ms
        self._step_bytes_max, self._look_every_s = step_bytes_max, look_every_ms / 1000
        self._waiting: list[JournalStep] = []
        self._clock_s, self._looked_s = clock_s, 0.0

    async def begin(self, committed: Mapping[TopicPartition, Committed], *, fill: bool) -> None:
        """Forget all, and read everything there is with `fill`; without it the journal tells what is read, and when.

        Raises OffsetOutOfRange.
        """
        self._waiting, self.stopped = [], None
        await asyncio.to_thread(self.tables.empty)
        # An order counts by the time of its record at the latest, so what is older than that is known to be forgotten.
        since_ms = self._clock_ms() - KEPT_MS - _CLOCKS_DIFFER_MS_MAX if fill else None
        await self.tables.begin(self._log, committed, orders_since_ms=since_ms)
        for at in self.tables.positions if fill else ():
            while self.stopped is None and (batches := await self._read(at, self._step_bytes_max)):
                await self._take_in(at, batches, batches[-1].last_offset + 1, self._clock_ms())
                crash_point("table-part")

    async def look(self, *, idle: bool) -> bool:
        """Read on in all topics, if the task is idle or it is time. False: nothing was there."""
        due = idle or self._clock_s() - self._looked_s >= self._look_every_s
        if not self.tables or self.stopped is not None or not due:
            return False
        self._looked_s, places = self._clock_s(), list(self.tables.positions)
        size_bytes_max = max(_READ_BYTES_MIN, self._step_bytes_max // len(places))
        found = await asyncio.gather(*(self._read(at, size_bytes_max) for at in places))
        for at, batches in zip(places, found, strict=True):
            if batches and self.stopped is None:
                await self._take_in(at, batches, batches[-1].last_offset + 1, self._clock_ms())
        return any(found)

    async def replay(self, step: JournalStep, read: ReadUntil) -> None:
        """Do a journaled step again."""
        self.tables.positions[step.at] = step.range.first  # a task that was started again read it again
        while (first := self.tables.positions[step.at]) < step.range.end:
            batches = await read(step.at, first, step.range.end)
            await self._take_in(step.at, batches, step.range.end, step.now_ms)

    def tell(self) -> None:
        """Hand on the steps that wait: what follows looks into the tables as they are now."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._done(Stepped(), waiting[-1].now_ms, waiting)

    async def _read(self, at: TopicPartition, size_bytes_max: int) -> list[RecordBatch]:
        return await self._log.read(at, self.tables.positions[at], size_bytes_max=size_bytes_max)

    async def _take_in(self, at: TopicPartition, batches: Sequence[RecordBatch], end: int, now_ms: int) -> None:
        for limit, counted in list(self.tables.parts(at, end)):
            first = self.tables.positions[at]
            made = await self._compute(
                lambda limit=limit, counted=counted: self.tables.step(  # type: ignore[misc]
                    at, batches, limit=limit, now_ms=now_ms, counted=counted
                )
            )
            if counted and made.stop is not None:
                self.stopped = Stopped(f"{made.stop.text} (record {at} offset {made.stop.offset}).")
                return
            if counted:
                self.tell()
                self._done(made, now_ms, ())
            else:
                self._wait(JournalStep(at=at, range=OffsetRange(first, self.tables.positions[at]), now_ms=now_ms))

    def _wait(self, step: JournalStep) -> None:
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.at == step.at and last.range.end == step.range.first:
            self._waiting[-1] = replace(last, range=OffsetRange(last.range.first, step.range.end))
        else:
            self._waiting.append(step)
        if len(self._waiting) >= _WAITING_MAX:
            self.tell()
