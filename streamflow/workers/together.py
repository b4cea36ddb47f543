"""Several workflows in one process: a worker each, on one event loop, with one scheduler and one log.

One that stops or fails does not end the others. Where they run until the end of their inputs, that is when none of them
has anything left to do: what one writes may be what another reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamflow.sdk.errors import LogUnavailable, StreamflowError
from streamflow.workers.progress import Progress, RunReport
from streamflow.workers.scheduler import Scheduler
from streamflow.workers.worker import Worker

_END_CHECK_S = 0.02


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How one workflow of several stands, or ended."""

    progress: Progress = field(default_factory=Progress)
    report: RunReport | None = None  # once it has ended
    error: StreamflowError | None = None  # why, if it failed


@dataclass(slots=True, kw_only=True)
class Standing:
    """How all of them stand."""

    seconds: float
    workflows: Mapping[str, Outcome]
    scheduler: Mapping[str, float]


class Together:
    """Workers of several workflows, by name. None of them ends by itself at the end of its inputs."""

    def __init__(
        self,
        workers: Mapping[str, Worker],
        scheduler: Scheduler,
        *,
        until_end: bool = False,
        on_progress: Callable[[Standing], None] | None = None,
        progress_interval_s: float = 1.0,
    ) -> None:
        self._workers, self._scheduler = dict(workers), scheduler
        self._until_end, self._on_progress, self._interval_s = until_end, on_progress, progress_interval_s
        self._outcomes = {name: Outcome() for name in workers}
        self._started = time.monotonic()

    def stop(self) -> None:
        """Ask all for a graceful end. Call it on the event loop."""
        for worker in self._workers.values():
            worker.stop()

    async def run(self) -> Standing:
        """Run until all have ended. What is no StreamflowError is raised, when the others have ended."""
        begun = []
        for name, worker in self._workers.items():  # one after another: they may share topics
            try:
                await worker.prepare()
            except StreamflowError as error:
                self._outcomes[name].error = error
            else:
                begun.append(name)
        jobs = {name: asyncio.ensure_future(self._keep(name)) for name in begun}
        beside = [asyncio.ensure_future(self._tell(jobs))]
        if self._until_end:
            beside.append(asyncio.ensure_future(self._at_end(jobs)))
        try:
            ended = await asyncio.gather(*jobs.values(), return_exceptions=True)
        finally:
            for job in (*jobs.values(), *beside):
                job.cancel()
            await asyncio.gather(*jobs.values(), *beside, return_exceptions=True)
        for result in (*ended, *(job.exception() for job in beside if not job.cancelled())):
            if isinstance(result, BaseException):
                raise result
        return self._standing()

    async def _keep(self, name: str) -> None:
        outcome, worker = self._outcomes[name], self._workers[name]
        try:
            outcome.report = await worker.run()
            outcome.progress = outcome.report.progress
        except StreamflowError as error:
            outcome.error = error

    async def _at_end(self, jobs: Mapping[str, asyncio.Future[None]]) -> None:
        while True:
            running = [self._workers[name] for name, job in jobs.items() if not job.done()]
            commits = self._commits()
            if all([await worker.at_end() for worker in running]) and commits == self._commits():
                self.stop()
                return
            await asyncio.sleep(_END_CHECK_S)

    def _commits(self) -> int:
        return sum(worker.commits() for worker in self._workers.values())

    async def _tell(self, jobs: Mapping[str, asyncio.Future[None]]) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            for name, job in jobs.items():
                if not job.done():
                    with contextlib.suppress(LogUnavailable):
                        self._outcomes[name].progress = await self._workers[name].progress()
            if self._on_progress is not None:
                self._on_progress(self._standing())

    def _standing(self) -> Standing:
        seconds = time.monotonic() - self._started
        return Standing(seconds=seconds, workflows=self._outcomes, scheduler=self._scheduler.figures())
