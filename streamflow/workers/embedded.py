"""Owns all tasks of a topology in this process: a pool of threads computes, one event loop reads and commits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamflow.codecs.registry import SchemaRegistry
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.policies import RunPolicy
from streamflow.runtime.build import Functions
from streamflow.runtime.topics import ensure_topics, register_schemas
from streamflow.sdk.log import Log
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workers.fleet import Fleet
from streamflow.workers.progress import Progress, RunReport

__all__ = ["EmbeddedWorker", "Progress", "RunReport"]

_MAINTENANCE_S = 60.0
_END_CHECK_S = 0.02


class EmbeddedWorker:
    """Runs a topology until told to stop, until its inputs end, or until an item fails under policy `stop`."""

    def __init__(
        self,
        topology: Topology,
        log: Log,
        *,
        nodes: NodeRegistry,
        functions: Functions | None = None,
        registry: SchemaRegistry | None = None,
        policy: RunPolicy | None = None,
        threads: int | None = None,
        until_end: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
        progress_interval_s: float = 1.0,
    ) -> None:
        self._topology, self._log, self._nodes, self._functions = topology, log, nodes, functions
        self._registry, self._policy, self._until_end = registry, policy, until_end
        self._threads = threads or max(2, os.cpu_count() or 2)
        self._on_progress, self._interval_s = on_progress, progress_interval_s
        self._stop = asyncio.Event()
        self.fleet: Fleet | None = None

    def stop(self) -> None:
        """Ask for a graceful end: steps under way finish and are committed. Call it on the event loop."""
        self._stop.set()

    async def run(self) -> RunReport:
        """Run to the end. Raises what a task could not recover from; everything committed stays committed."""
        started = time.monotonic()
        topics = await ensure_topics(self._topology, self._log)
        if self._registry is not None:
            register_schemas(self._topology, self._registry)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="streamflow") as executor:
            fleet = self.fleet = Fleet(
                self._topology, self._log, executor, topics=topics, nodes=self._nodes, functions=self._functions,
                registry=self._registry, policy=self._policy, settle_when_idle=self._until_end,
            )  # fmt: skip
            try:
                await fleet.own(fleet.everything)
                await self._until_over(fleet, started)
            finally:
                await fleet.close(graceful=fleet.error is None)
            if fleet.error is not None:
                raise fleet.error
            progress = await self._progress(fleet, started)
        if self._on_progress:
            self._on_progress(progress)
        return RunReport(progress=progress, halted=fleet.halted)

    async def _until_over(self, fleet: Fleet, started: float) -> None:
        """Return when the run is to end: told to stop, a task failed or halted, or the inputs are at their end."""
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(self._stop.wait()), loop.create_task(fleet.finished())]
        if self._until_end:
            waits.append(loop.create_task(at_end(fleet)))
        watcher = loop.create_task(self._watch(fleet, started))
        try:
            await asyncio.wait([*waits, watcher], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in (*waits, watcher):
                job.cancel()
            ended = await asyncio.gather(*waits, watcher, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _watch(self, fleet: Fleet, started: float) -> None:
        kept_at = time.monotonic()
        while True:
            await asyncio.sleep(self._interval_s)
            if self._on_progress:
                self._on_progress(await self._progress(fleet, started))
            if isinstance(self._log, EmbeddedLog) and time.monotonic() - kept_at >= _MAINTENANCE_S:
                # No broker does it for us: retention, and compaction of changelogs.
                await self._log.run_maintenance(time.time_ns() // 1_000_000)
                kept_at = time.monotonic()

    async def _progress(self, fleet: Fleet, started: float) -> Progress:
        progress = await fleet.progress()
        progress.seconds = time.monotonic() - started
        return progress


async def at_end(fleet: Fleet) -> None:
    """Return when every source is done and every task here has committed all that its inputs hold."""
    while True:
        if fleet.owned and fleet.idle and not await fleet.lag() and fleet.idle:
            return
        await asyncio.sleep(_END_CHECK_S)
