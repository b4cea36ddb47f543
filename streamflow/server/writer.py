"""Signals of each workflow are written by one task, all that came meanwhile in one transaction; each is told where it
lies. Workflows do not wait for each other: each has its own queue, task and producer.

The transactional id is the machine's name, the port and the workflow: a server that comes again settles what its
predecessor left open, which would hold up readers. Should another machine of that name fence this one, it goes on with
an id that is its own.
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

from streamflow.runtime.signals import Signal, Written, signals_topic, write_signals
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError, StreamflowError
from streamflow.sdk.events import Logger
from streamflow.sdk.log import Log, Producer
from streamflow.server.problems import Problem, unavailable
from streamflow.topology.plan import Topology

WAITING_MAX: Final = 1_000  # of a workflow
TOGETHER_MAX: Final = 200
ANSWER_S_MAX: Final = 15.0
_log = Logger(__name__)


class SignalWriter:
    """Writes signals to a log. `close` at the end: what was taken is written before it returns."""

    def __init__(self, log: Log, port: int) -> None:
        self._log, self._port = log, port
        self._lanes: dict[str, _Lane] = {}  # by workflow, of those that are served

    async def close(self) -> None:
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    async def write(self, topology: Topology, signals: Sequence[Signal]) -> list[Written]:
        """Where the signals lie, once they are committed. Raises Problem 503 if they are not, or not known to be."""
        lane = self._lanes.get(topology.workflow)
        if lane is None:
            lane = self._lanes[topology.workflow] = _Lane(self._log, self._port, topology)
        done = lane.put(signals)
        try:
            # Whoever gave up does not end what others wait for.
            async with asyncio.timeout(ANSWER_S_MAX):
                return await asyncio.shield(done)
        except TimeoutError:
            done.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise unavailable(f"no answer within {ANSWER_S_MAX:.0f} s; it may be written yet") from None


@dataclass(slots=True)
class _Job:
    signals: Sequence[Signal]
    done: asyncio.Future[list[Written]]


class _Lane:
    """The signals of one workflow, in the order in which they came."""

    def __init__(self, log: Log, port: int, topology: Topology) -> None:
        self._log, self._topology = log, topology
        self._id = f"streamflow.serve.{socket.gethostname()}.{port}.{topology.workflow}"
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(WAITING_MAX)
        self._topic: str | None = None  # once it is there
        self._producer: Producer | None = None
        self._work = asyncio.create_task(self._run())

    def put(self, signals: Sequence[Signal]) -> asyncio.Future[list[Written]]:
        """Raises Problem 503 where too many wait."""
        job = _Job(signals, asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise unavailable(f"{WAITING_MAX:,} requests wait already") from None
        return job.done

    async def close(self) -> None:
        await self._jobs.put(None)
        await self._work
        if self._producer is not None:
            with contextlib.suppress(LogError):
                await self._producer.close()

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
            if jobs:
                await self._take(jobs)

    async def _take(self, jobs: Sequence[_Job]) -> None:
        """Write what several asked for; whatever goes wrong is told to all of them."""
        try:
            written = await self._write([signal for job in jobs for signal in job.signals])
        except Exception as error:  # a defect must not leave anybody without an answer
            problem = _problem(error)
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

    async def _write(self, signals: Sequence[Signal]) -> list[Written]:
        try:
            if self._topic is None:
                self._topic = await signals_topic(self._topology, self._log)
            if self._producer is None:
                self._producer = await self._log.producer(self._id)
            now_ms = time.time_ns() // 1_000_000
            return await write_signals(self._log, self._producer, self._topic, signals, now_ms=now_ms)
        except Exception as error:
            producer, self._producer, self._topic = self._producer, None, None
            if isinstance(error, Fenced):
                self._id = f"streamflow.serve.{socket.gethostname()}.{secrets.token_hex(8)}"
            if producer is not None:
                with contextlib.suppress(LogError):
                    await producer.close()
            raise


def _problem(error: Exception) -> Problem:
    if isinstance(error, LogError):
        doubt = "whether it was written is not known" if isinstance(error, CommitUnknown) else "nothing was written"
        return unavailable(f"{error.message} ({doubt})", code=error.code)
    if isinstance(error, StreamflowError):
        return Problem(422, "signal", error.message, mend=error.mend, code=error.code)
    _log.error("signals_not_written", error=repr(error))
    return Problem(500, "server", "a signal is written.", found=type(error).__name__, mend="See its log.")
