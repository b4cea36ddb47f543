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
    error: Exception | None = None  # why, if it failed


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
        on_ended: Callable[[str, Outcome], None] | None = None,
        progress_interval_s: float = 1.0,
    ) -> None:
        """`on_ended` hears of each workflow by name as soon as it has ended, while others run on."""
        self._workers, self._scheduler = dict(workers), scheduler
        self._until_end, self._on_progress, self._interval_s = until_end, on_progress, progress_interval_s
        self._on_ended = on_ended
        self._outcomes = {name: Outcome() for name in workers}
        self._started = time.monotonic()

    def stop(self) -> None:
        """Ask all for a graceful end. Call it on the event loop."""
        for worker in self._workers.values():
            worker.stop()

    async def run(self) -> Standing:
        """Run until all have ended. What is no StreamflowError is raised, when the others have ended.

        An error of what runs beside them, such as one of `on_progress`, ends all gracefully and is raised.
        """
        begun = []
        for name, worker in self._workers.items():  # one after another: they may share topics
            try:
                await worker.prepare()
            except StreamflowError as error:
                self._outcomes[name].error = error
                self._ended(name)
            else:
                begun.append(name)
        jobs = {name: asyncio.ensure_future(self._keep(name)) for name in begun}
        beside = [asyncio.ensure_future(self._tell(jobs))]
        if self._until_end:
            beside.append(asyncio.ensure_future(self._at_end(jobs)))
        try:
            while works := [job for job in jobs.values() if not job.done()]:
                await asyncio.wait([*works, *(b for b in beside if not b.done())], return_when=asyncio.FIRST_COMPLETED)
                if any(b.done() and b.exception() is not None for b in beside):
                    self.stop()  # without it nobody would, or nobody would see how they stand
        finally:
            for job in (*jobs.values(), *beside):
                job.cancel()
            ended = await asyncio.gather(*jobs.values(), *beside, return_exceptions=True)
        for result in (*(outcome.error for outcome in self._outcomes.values()), *ended):
            if isinstance(result, BaseException) and not isinstance(result, StreamflowError | asyncio.CancelledError):
                raise result
        for result in ended[len(jobs) :]:  # of what runs beside them, any error
            if isinstance(result, StreamflowError):
                raise result
        return self.standing()

    async def _keep(self, name: str) -> None:
        outcome, worker = self._outcomes[name], self._workers[name]
        try:
            outcome.report = await worker.run()
            outcome.progress = outcome.report.progress
        except Exception as error:  # noted at once, and what is no StreamflowError is raised by `run` at the end
            outcome.error = error
        self._ended(name)

    def _ended(self, name: str) -> None:
        if self._on_ended is not None:
            self._on_ended(name, self._outcomes[name])

    async def _at_end(self, jobs: Mapping[str, asyncio.Future[None]]) -> None:
        while True:
            running = [self._workers[name] for name, job in jobs.items() if not job.done()]
            commits = self._commits()
            # Tasks bear brokers that are away, and so does this: it is asked again until somebody answers.
            with contextlib.suppress(LogUnavailable):
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
                self._on_progress(self.standing())

    def standing(self) -> Standing:
        """How all stand now."""
        seconds = time.monotonic() - self._started
        return Standing(seconds=seconds, workflows=self._outcomes, scheduler=self._scheduler.figures())
