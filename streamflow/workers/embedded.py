"""Owns all tasks of a topology in this process: a pool of threads computes, one event loop reads and commits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from streamflow.codecs.registry import SchemaRegistry
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.policies import RunPolicy
from streamflow.runtime.build import Functions
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.source_task import SourceTask
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics, register_schemas, stage_width
from streamflow.sdk.errors import Stopped
from streamflow.sdk.log import Log
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology

_MAINTENANCE_S = 60.0


_WAIT_MS_MAX = 100  # a task that waits for input does not see that it shall stop


@dataclass(slots=True, kw_only=True)
class Progress:
    """Totals since the start."""

    seconds: float = 0.0
    rows_in: int = 0
    rows_out: int = 0
    dead: int = 0
    commits: int = 0
    lag: int = 0
    stages: dict[str, int] = field(default_factory=dict)  # stage -> rows in


@dataclass(slots=True, kw_only=True)
class RunReport:
    """How a run ended."""

    progress: Progress
    halted: Stopped | None = None


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
        self._registry, self._policy, self._until_end = registry, policy or topology.run, until_end
        self._threads = threads or max(2, os.cpu_count() or 2)
        self._on_progress, self._interval_s = on_progress, progress_interval_s
        self._stop = asyncio.Event()
        self._tasks: list[Task | SourceTask] = []
        self._idle: dict[str, bool] = {}

    def stop(self) -> None:
        """Ask for a graceful end: steps under way finish and are committed. Call it on the event loop."""
        self._stop.set()

    async def run(self) -> RunReport:
        """Run to the end. Raises what a task could not recover from; everything committed stays committed."""
        started = time.monotonic()
        topics = await ensure_topics(self._topology, self._log)
        if self._registry is not None:
            register_schemas(self._topology, self._registry)
        partitions = {name: info.partitions for name, info in topics.items()}
        with ThreadPoolExecutor(self._threads, thread_name_prefix="streamflow") as executor:
            for stage in self._topology.stages:
                if any(i.source for i in stage.inputs):
                    self._tasks.append(
                        SourceTask(
                            self._topology,
                            stage,
                            self._log,
                            executor,
                            nodes=self._nodes,
                            functions=self._functions,
                            registry=self._registry,
                            policy=self._policy,
                        )
                    )
                    continue
                width = stage_width(stage, partitions)
                for partition in range(width):
                    program = TaskProgram(
                        self._topology,
                        stage,
                        partition=partition,
                        tasks=width,
                        topics=topics,
                        nodes=self._nodes,
                        functions=self._functions,
                        registry=self._registry,
                    )
                    self._tasks.append(Task(self._topology, program, self._log, executor, policy=self._policy))
            try:
                async with asyncio.TaskGroup() as group:
                    drivers = [group.create_task(self._drive(task)) for task in self._tasks]
                    watchers = [group.create_task(self._watch(started))]
                    if self._until_end:
                        watchers.append(group.create_task(self._watch_end()))
                    await asyncio.wait(drivers)
                    self._stop.set()
            except* Exception as errors:
                raise _first(errors) from None
            finally:
                for task in self._tasks:
                    await task.close()
            progress = await self._progress(started)
        if self._on_progress:
            self._on_progress(progress)
        return RunReport(progress=progress, halted=next((t.halted for t in self._tasks if t.halted), None))

    async def _drive(self, task: Task | SourceTask) -> None:
        try:
            await self._run_task(task)
        except BaseException:
            # The group cancels the others, but a cancellation may be swallowed on the way down (`wait_for` does it when
            # its time is up in the same turn): nobody goes on when one is gone.
            self._stop.set()
            raise

    async def _run_task(self, task: Task | SourceTask) -> None:
        await task.start()
        while not self._stop.is_set():
            moved = await task.advance()
            if task.halted is not None:
                self._stop.set()
            elif not moved:
                if task.has_pending and self._until_end:
                    await task.settle()
                self._idle[task.name] = not task.has_pending and (not isinstance(task, SourceTask) or task.done)
                await task.wait(min(self._policy.commit_interval_ms, _WAIT_MS_MAX))
            else:
                self._idle[task.name] = False
        await task.drain()

    async def _watch_end(self) -> None:
        """Stop when every source is done and every task has committed all that its inputs hold."""
        while not self._stop.is_set():
            if len(self._idle) == len(self._tasks) and all(self._idle.values()):
                lags = [await task.lag() for task in self._tasks]
                if not any(lags) and all(self._idle.values()):
                    self._stop.set()
                    return
            await asyncio.sleep(0.02)

    async def _watch(self, started: float) -> None:
        kept_at = time.monotonic()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._stop.wait()
            except TimeoutError:
                if self._on_progress:
                    self._on_progress(await self._progress(started))
                if isinstance(self._log, EmbeddedLog) and time.monotonic() - kept_at >= _MAINTENANCE_S:
                    # No broker does it for us: retention, and compaction of changelogs.
                    await self._log.run_maintenance(time.time_ns() // 1_000_000)
                    kept_at = time.monotonic()

    async def _progress(self, started: float) -> Progress:
        progress = Progress(seconds=time.monotonic() - started)
        for task in self._tasks:
            source = isinstance(task, SourceTask)
            progress.rows_in += 0 if source else task.metrics.rows_in
            progress.rows_out += 0 if source else task.metrics.rows_out
            progress.dead += task.metrics.dead
            progress.commits += task.metrics.commits
            progress.stages[task.stage.id] = progress.stages.get(task.stage.id, 0) + task.metrics.rows_in
            progress.lag += await task.lag()
        return progress


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
