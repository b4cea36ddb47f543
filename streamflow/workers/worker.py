"""One process of a running workflow: a fleet of tasks, and whoever says which of them it owns.

A pool of threads computes, one event loop reads and commits. Only ownership differs between the logs (`Owner`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.policies import RunPolicy
from streamflow.recovery.by_policy import ByPolicy
from streamflow.runtime.build import Functions
from streamflow.runtime.topics import ensure_topics, register_schemas
from streamflow.sdk.errors import LogUnavailable
from streamflow.sdk.log import Log
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workers.driver import Turn, advance
from streamflow.workers.fleet import Fleet
from streamflow.workers.progress import Progress, RunReport
from streamflow.workers.scheduler import Limits, Scheduler
from streamflow.workers.standing import told_on_signal

_END_CHECK_S = 0.02
_RECOVER_S = 1.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Owner(Protocol):
    """Says which tasks this process owns, by `Fleet.own`, from `begin` until `end`."""

    # Whether it is an error when another process takes a task over.
    alone: bool

    async def begin(self, fleet: Fleet) -> None:
        """Start to hand out tasks; returns without waiting for the first of them."""
        ...

    async def watch(self, fleet: Fleet) -> None:
        """Upkeep while the tasks run. Never returns; raises what ends the ownership."""
        ...

    async def idle(self, fleet: Fleet) -> bool:
        """Whether everything that the whole topology can read now is committed, by whomever."""
        ...

    def lost(self) -> None:
        """A task was fenced: another process took it over."""
        ...

    async def end(self) -> None:
        """No more tasks are owned; they have committed what they had begun."""
        ...


class Worker:
    """Runs tasks of a topology until told to stop, until its inputs end, or until an item fails under policy `stop`."""

    def __init__(
        self,
        topology: Topology,
        log: Log,
        owner: Owner,
        *,
        nodes: NodeRegistry,
        functions: Functions | None = None,
        registry: SchemaRegistry | None = None,
        policy: RunPolicy | None = None,
        state_folder: str = "",
        threads: int | None = None,
        limits: Limits | None = None,
        scheduler: Scheduler | None = None,
        until_end: bool = False,
        ends_itself: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        progress_interval_s: float = 1.0,
        turn: Turn = advance,
    ) -> None:
        """`scheduler`: what several workflows in this process share; without it the worker makes its own, of `limits`,
        or of so many `threads`.
        `state_folder`: see `Fleet`. `until_end`: commit at once whatever there is and, if it `ends_itself`, end when
        the inputs are at theirs.
        """
        self._topology, self._log, self._owner, self._nodes = topology, log, owner, nodes
        self._functions, self._registry, self._policy = functions, registry, policy
        self._state_folder = state_folder
        self._limits, self._scheduler, self._shared = (
            limits or Limits(threads=threads),
            scheduler,
            scheduler is not None,
        )
        self._until_end, self._ends_itself = until_end, ends_itself
        self._on_progress, self._interval_s, self._turn = on_progress, progress_interval_s, turn
        self._stop = asyncio.Event()
        self.fleet: Fleet | None = None
        self._started = time.monotonic()
        self._recovery: ByPolicy | None = None
        if topology.recover is not None:
            self._recovery = ByPolicy(topology, topology.recover, log, nodes, clock_ms=_now_ms)

    def stop(self) -> None:
        """Ask for a graceful end: steps under way finish and are committed. Call it on the event loop."""
        self._stop.set()

    async def run(self) -> RunReport:
        """Run to the end. Raises what a task could not recover from; everything committed stays committed."""
        self._started = time.monotonic()
        topics = await ensure_topics(self._topology, self._log)
        if self._registry is not None:
            register_schemas(self._topology, self._registry)
        with contextlib.ExitStack() as own:
            scheduler = self._scheduler = self._scheduler or own.enter_context(Scheduler(self._limits))
            share = scheduler.share(self._topology.workflow, (self._policy or self._topology.run).weight)
            fleet = self.fleet = Fleet(
                self._topology, self._log, share, topics=topics, nodes=self._nodes, functions=self._functions,
                registry=self._registry, policy=self._policy,
                state_folder=self._state_folder, turn=self._turn, settle_when_idle=self._until_end,
                on_lost=None if self._owner.alone else lambda _: self._owner.lost(),
            )  # fmt: skip
            try:
                await self._owner.begin(fleet)
                await self._until_over(fleet)
            finally:
                await fleet.close(graceful=fleet.error is None)
                await self._owner.end()
            if fleet.error is not None:
                raise fleet.error
            progress = await self.progress()
        if self._on_progress:
            self._on_progress(progress)
        return RunReport(progress=progress, halted=fleet.halted)

    async def _until_over(self, fleet: Fleet) -> None:
        """Return when the run is to end: told to stop, a task failed or halted, or the inputs are at their end."""
        works = [self._stop.wait(), fleet.finished(), self._owner.watch(fleet), self._tell()]
        if self._recovery is not None:
            works.append(self._recover(self._recovery))
        if self._until_end and self._ends_itself:
            works.append(self._at_end(fleet))
        jobs = [asyncio.ensure_future(work) for work in works]
        try:
            with told_on_signal(fleet.drivers):
                await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            ended = await asyncio.gather(*jobs, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def prepare(self) -> None:
        """Make the topics that are missing, as `run` does; before it where others make some of the same."""
        await ensure_topics(self._topology, self._log)

    def commits(self) -> int:
        """Commits so far."""
        return 0 if self.fleet is None else self.fleet.commits()

    async def at_end(self) -> bool:
        """Whether it runs, and everything that it can read now is read and committed."""
        return self.fleet is not None and await self._idle(self.fleet)

    async def _at_end(self, fleet: Fleet) -> None:
        while True:
            if await self._idle(fleet):
                return
            await asyncio.sleep(_END_CHECK_S)

    async def _idle(self, fleet: Fleet) -> bool:
        """Whether everything is read and committed, with no commit while it was asked: that is another's input."""
        commits = fleet.commits()
        nothing = fleet.idle and not await fleet.lag() and await self._owner.idle(fleet)
        # Asked behind that: what the gathers of all workers said is on the log by then.
        nothing = nothing and not await fleet.orders_left() and fleet.idle
        if nothing and self._recovery is not None and await self._recovery.round():
            return False  # what is due is given again, and has to be done
        return nothing and fleet.commits() == commits

    @staticmethod
    async def _recover(recovery: ByPolicy) -> None:
        while True:
            await asyncio.sleep(_RECOVER_S)
            await recovery.round()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if self._on_progress:
                # Tasks bear brokers that are away, and so do figures: they come again when somebody answers.
                with contextlib.suppress(LogUnavailable):
                    self._on_progress(await self.progress())

    async def progress(self) -> Progress:
        """How far it is; nothing before it runs."""
        if self.fleet is None:
            return Progress()
        progress = await self.fleet.progress()
        progress.seconds = time.monotonic() - self._started
        progress.idle = self._until_end and await self._idle(self.fleet)
        if self._scheduler is not None:
            name = self._topology.workflow
            progress.scheduler = self._scheduler.figures_of(name) if self._shared else self._scheduler.figures()
        return progress
