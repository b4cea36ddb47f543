"""Signals are written by one task, all that came meanwhile in one transaction; each is told where it lies.

The transactional id is the machine's name and the port: a server that comes again settles at once what its predecessor
left open, which would hold up readers. Should another machine of that name fence this one, it goes on with an id that
is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from streamflow.runtime.signals import Signal, Written, signals_topic, write_signals
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError, StreamflowError
from streamflow.sdk.log import Log, Producer
from streamflow.server.problems import Problem, unavailable
from streamflow.topology.plan import Topology

WAITING_MAX: Final = 1_000
TOGETHER_MAX: Final = 200
ANSWER_S_MAX: Final = 15.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    topology: Topology
    signals: Sequence[Signal]
    done: asyncio.Future[list[Written]]


class SignalWriter:
    """Writes signals to a log. `start` before use, `close` at the end: what was taken is written before it returns."""

    def __init__(self, log: Log, port: int) -> None:
        self._log = log
        self._id = f"streamflow.serve.{socket.gethostname()}.{port}"
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(WAITING_MAX)
        self._topics: dict[str, str] = {}  # by workflow: those that are there
        self._producer: Producer | None = None
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._work is not None:
            await self._jobs.put(None)
            await self._work
        if self._producer is not None:
            with contextlib.suppress(LogError):
                await self._producer.close()

    async def write(self, topology: Topology, signals: Sequence[Signal]) -> list[Written]:
        """Where the signals lie, once they are committed. Raises Problem 503 if they are not, or not known to be."""
        job = _Job(topology, signals, asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise unavailable(f"{WAITING_MAX:,} requests wait already") from None
        try:
            # Whoever gave up does not end what others wait for.
            async with asyncio.timeout(ANSWER_S_MAX):
                return await asyncio.shield(job.done)
        except TimeoutError:
            job.done.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise unavailable(f"no answer within {ANSWER_S_MAX:.0f} s; it may be written yet") from None

    async def _run(self) -> None:
        over = False
        while not over:
            job = await self._jobs.get()
            jobs: list[_Job] = []
            while True:
                if job is None:
                    over = True
                    break
                jobs.append(job)
                if len(jobs) >= TOGETHER_MAX or self._jobs.empty():
                    break
                job = self._jobs.get_nowait()
            by_workflow: dict[str, list[_Job]] = {}
            for one in jobs:
                by_workflow.setdefault(one.topology.workflow, []).append(one)
            for together in by_workflow.values():
                await self._take(together)

    async def _take(self, jobs: Sequence[_Job]) -> None:
        """Write what several asked for; whatever goes wrong is told to all of them."""
        try:
            written = await self._write(jobs[0].topology, [signal for job in jobs for signal in job.signals])
        except Exception as error:  # a defect must not leave anybody without an answer
            problem = self._problem(error)
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(problem)
            return
        crash_point("signals-committed")
        first = 0
        for job in jobs:
            if not job.done.done():
                job.done.set_result(written[first : first + len(job.signals)])
            first += len(job.signals)

    async def _write(self, topology: Topology, signals: Sequence[Signal]) -> list[Written]:
        try:
            topic = self._topics.get(topology.workflow)
            if topic is None:
                topic = self._topics[topology.workflow] = await signals_topic(topology, self._log)
            if self._producer is None:
                self._producer = await self._log.producer(self._id)
            return await write_signals(self._log, self._producer, topic, signals, now_ms=time.time_ns() // 1_000_000)
        except Exception as error:
            producer, self._producer = self._producer, None
            self._topics.pop(topology.workflow, None)
            if isinstance(error, Fenced):
                self._id = f"streamflow.serve.{socket.gethostname()}.{secrets.token_hex(8)}"
            if producer is not None:
                with contextlib.suppress(LogError):
                    await producer.close()
            raise

    @staticmethod
    def _problem(error: Exception) -> Problem:
        if isinstance(error, LogError):
            doubt = "whether it was written is not known" if isinstance(error, CommitUnknown) else "nothing was written"
            return unavailable(f"{error.message} ({doubt})", code=error.code)
        if isinstance(error, StreamflowError):
            return Problem(422, "signal", error.message, mend=error.mend, code=error.code)
        _log.error("signals_not_written", error=repr(error))
        return Problem(500, "server", "a signal is written.", found=type(error).__name__, mend="See its log.")
