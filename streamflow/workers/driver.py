"""Drives one task of this process, turn by turn, until told to stop.

starting ──▶ running ──stop──▶ draining ──▶ gone
                │ fenced: another process took the task over; what was not committed is dropped
                ▼
              lost
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from streamflow.runtime.source_task import SourceTask
from streamflow.runtime.task import Task
from streamflow.sdk.errors import Fenced
from streamflow.sdk.events import Logger

AnyTask = Task | SourceTask
Turn = Callable[[AnyTask], Awaitable[bool]]
State = Literal["starting", "running", "draining", "lost", "gone"]

_log = Logger(__name__)
_WAIT_MS_MAX = 100  # a task that waits for input does not see that it shall stop
_TURN_S_MAX = 2.0  # a task that is dropped may finish the turn it is in


async def advance(task: AnyTask) -> bool:
    """The plain turn: the task does what there is to do, here."""
    return await task.advance()


class Driver:
    """One task and its loop. `turn` does one step of it; False says that there was nothing to do."""

    def __init__(
        self, task: AnyTask, *, turn: Turn = advance, wait_ms: int = _WAIT_MS_MAX, settle_when_idle: bool = False
    ) -> None:
        """`settle_when_idle`: commit as soon as there is nothing to read, instead of when the interval is over."""
        self.task, self._turn = task, turn
        self._wait_ms, self._settle_when_idle = min(wait_ms, _WAIT_MS_MAX), settle_when_idle
        self._stopping = asyncio.Event()
        self._dropped = False
        self._settling: list[asyncio.Future[None]] = []
        self._job: asyncio.Task[None] | None = None
        self.state: State = "starting"
        self.idle = False  # everything read so far is committed, and there was nothing more
        self.fenced: Fenced | None = None  # why the task is lost
        self.started_s = self.moved_s = time.monotonic()  # `moved_s`: when the last turn ended

    def start(self, failed: Callable[[Driver, BaseException], None], ended: Callable[[Driver], None]) -> None:
        """Begin. `failed` hears of an error that ends the task, `ended` of every other end."""
        self._job = asyncio.get_running_loop().create_task(self._run(), name=f"task {self.task.name}")

        def done(job: asyncio.Task[None]) -> None:
            self._wake()
            error = None if job.cancelled() else job.exception()
            if error is not None:
                failed(self, error)
            else:
                ended(self)

        self._job.add_done_callback(done)

    @property
    def job(self) -> asyncio.Task[None] | None:
        """What drives; None before `start`."""
        return self._job

    async def settle(self) -> None:
        """Return when all that was begun before the call is committed, or the task is gone."""
        if self._job is None or self._job.done() or self.state == "starting":
            return
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling.append(asked)
        await asked

    async def stop(self) -> None:
        """End gracefully: the step under way finishes and is committed."""
        self._stopping.set()
        await self._finished()

    async def drop(self) -> None:
        """End without one more commit. One that is under way may finish: cut off, nobody here would know of it."""
        self._dropped = True
        self._stopping.set()
        if self._job is not None and self.state == "running":
            await asyncio.wait([self._job], timeout=_TURN_S_MAX)
        if self._job is not None:
            self._job.cancel()
        await self._finished()

    def abandon(self) -> None:
        """End without waiting for that."""
        self._dropped = True
        self._stopping.set()
        if self._job is not None:
            self._job.cancel()

    async def _finished(self) -> None:
        if self._job is not None:
            # How it ended is told to the callbacks of `start`.
            await asyncio.wait([self._job])

    async def _run(self) -> None:
        try:
            await self.task.start()
            self.state = "running"
            _log.info("task_runs", task=self.task.name, seconds=round(time.monotonic() - self.started_s, 3))
            await self._loop()
            if not self._dropped:
                self.state = "draining"
                await self.task.drain()
            self.state = "gone"
        except Fenced as fenced:
            # What this task had not committed is dropped with its producer; its successor does it.
            self.state, self.fenced = "lost", fenced
        finally:
            with contextlib.suppress(Fenced):
                await self.task.close()
            if self.state != "lost":
                self.state = "gone"

    async def _loop(self) -> None:
        task = self.task
        while not self._stopping.is_set():
            if self._settling:
                await task.settle()
                self._wake()
            moved = await self._turn(task)
            self.moved_s = time.monotonic()
            if task.halted is not None:
                return
            if moved:
                self.idle = False
                continue
            if task.has_pending and self._settle_when_idle:
                await task.settle()
            self.idle = not task.has_pending and (not isinstance(task, SourceTask) or task.done)
            await task.wait(self._wait_ms)

    def _wake(self) -> None:
        asked, self._settling = self._settling, []
        for future in asked:
            if not future.done():
                future.set_result(None)
