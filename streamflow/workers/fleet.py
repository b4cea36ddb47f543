"""The tasks of a topology that this process owns: made, driven, handed over and counted.

Who owns which task is decided elsewhere (all in one process, or by a group); `own` makes it so. Fencing is the truth
under it: a task that another process took over drops what it had not committed, whoever believed what.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping

from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.policies import RunPolicy
from streamflow.model.positions import TopicPartition
from streamflow.runtime.build import Functions
from streamflow.runtime.checkpoint import make_state
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.source_task import SourceTask
from streamflow.runtime.task import Span, Task
from streamflow.runtime.topics import stage_width
from streamflow.sdk.errors import LogUnavailable, StateBusy, Stopped
from streamflow.sdk.events import Logger
from streamflow.sdk.log import Log, TopicInfo
from streamflow.sdk.registry import NodeRegistry
from streamflow.state.task_state import TaskState
from streamflow.topology.plan import StagePlan, Topology
from streamflow.workers.driver import AnyTask, Driver, Turn, advance
from streamflow.workers.progress import Progress
from streamflow.workers.scheduler import Share
from streamflow.workers.standbys import Standby, Standbys
from streamflow.workers.standing import tell
from streamflow.workers.tasks import TaskId

_log = Logger(__name__)
STATE_FOLDER = ".streamflow/state"
_RESTART_AFTER_S, _RESTART_AFTER_S_MAX = 0.5, 30.0
_LOOK_S, _STUCK_S = 10.0, 60.0
_FORGIVEN_AFTER_S = 120.0  # a task that ran for so long begins again with short waits


class Fleet:
    """Tasks of one topology in this process. Use it on one event loop."""

    def __init__(
        self,
        topology: Topology,
        log: Log,
        share: Share,
        *,
        topics: Mapping[str, TopicInfo],
        nodes: NodeRegistry,
        functions: Functions | None = None,
        registry: SchemaRegistry | None = None,
        policy: RunPolicy | None = None,
        state_folder: str = "",
        turn: Turn = advance,
        settle_when_idle: bool = False,
        on_lost: Callable[[TaskId], None] | None = None,
    ) -> None:
        """`share`: what its tasks compute with and may hold. `state_folder`: where state is kept on disk, if the policy
        says so. `on_lost` hears of a task that was
        fenced; without it, that ends the worker as any other error does.
        """
        self._topology, self._log, self._share, self._topics = topology, log, share, topics
        self._nodes, self._functions, self._registry = nodes, functions, registry
        self._policy = policy or topology.run
        self._state_folder = state_root(self._policy, state_folder)
        self._turn, self._settle_when_idle, self._on_lost = turn, settle_when_idle, on_lost
        self._drivers: dict[TaskId, Driver] = {}
        self.standbys = Standbys(log, topics, self._make_standby)
        self._gone = Progress()  # totals of tasks that are not here any more
        self._span: Span | None = None  # of these
        self._due_s: dict[TaskId, float] = {}  # tasks to be taken over again, and when
        self._tries: dict[TaskId, int] = {}
        self._marks: dict[TaskId, tuple[object, float]] = {}  # how far tasks were when last looked at, and since when
        self._ended = asyncio.Event()
        self._closing = False
        self.error: BaseException | None = None
        self.halted: Stopped | None = None

    @property
    def everything(self) -> list[TaskId]:
        """All tasks of the topology, whoever owns them, in order of flow."""
        return [TaskId(stage.id, p) for stage in self._topology.stages for p in range(self.width(stage))]

    def width(self, stage: StagePlan) -> int:
        """Tasks of a stage."""
        return stage_width(stage, {name: info.partitions for name, info in self._topics.items()})

    def partitions(self, topic: str) -> int:
        """Partitions of a topic of the topology."""
        return self._topics[topic].partitions

    @property
    def owned(self) -> frozenset[TaskId]:
        """Tasks that run here now."""
        return frozenset(self._drivers)

    async def own(self, wanted: Collection[TaskId], standbys: Mapping[TaskId, int] | None = None) -> None:
        """Run exactly these tasks: those that are not among them are dropped, what is new is taken over.

        `standbys`: tasks of others whose state is to be kept here, each with its number among those that do. A task
        that had one here begins with its state.
        """
        lost = [self._drivers.pop(task) for task in list(self._drivers) if task not in wanted]
        self._due_s = {task: due for task, due in self._due_s.items() if task in wanted}
        if lost:
            # Their next owner may be at work already and has fenced them: nothing is left to commit.
            await asyncio.gather(*(driver.drop() for driver in lost))
        for task in sorted(set(wanted) - set(self._drivers) - set(self._due_s)):
            self._begin(task, await self.standbys.release(task))
        await self.standbys.keep(standbys or {})

    async def settle(self) -> None:
        """Return when all that the tasks had begun is committed."""
        await asyncio.gather(*(driver.settle() for driver in self._drivers.values()))

    async def finished(self) -> None:
        """Return when the worker has to end: a task failed for good or halted. Restarts of tasks happen in here."""
        while self.error is None and self.halted is None:
            self._ended.clear()
            due = min(self._due_s.values(), default=math.inf)
            try:
                async with asyncio.timeout(min(_LOOK_S, max(0.0, due - time.monotonic()))):
                    await self._ended.wait()
            except TimeoutError:
                self._restart()
                self._look_for_stuck()

    async def close(self, *, graceful: bool = True) -> None:
        """End all tasks; with `graceful` what was begun is committed."""
        self._closing = True
        self._due_s.clear()
        await self.standbys.close()
        drivers = list(self._drivers.values())
        await asyncio.gather(*((d.stop() if graceful else d.drop()) for d in drivers))

    @property
    def idle(self) -> bool:
        """Whether no task had anything to do, and everything is committed."""
        # A driver says so between turns; in the middle of one, what was read since waits for its commit.
        return not self._due_s and all(d.idle and not d.task.has_pending for d in self._drivers.values())

    async def lag(self) -> int:
        """Records on the inputs of the tasks here that they have not read."""
        return sum([await driver.task.lag() for driver in list(self._drivers.values()) if driver.state == "running"])

    async def orders_left(self) -> int:
        """Where branches race: records that say who lost, of which tasks here have not heard. One of them counts those
        records, but each has rows that end.
        """
        if not any(stage.races for stage in self._topology.stages):
            return 0
        tasks = [driver.task for driver in list(self._drivers.values()) if driver.state == "running"]
        return sum([await task.orders_left() for task in tasks if isinstance(task, Task)])

    def closed(self, task: TaskId) -> frozenset[TopicPartition]:
        """Inputs of a task here of which it takes nothing more for now, as what it keeps waiting is full."""
        found = self._drivers[task].task if task in self._drivers else None
        return found.closed if isinstance(found, Task) else frozenset()

    def commits(self) -> int:
        """Commits of all tasks that run or ran here."""
        return self._gone.commits + sum(task.metrics.commits for task in self.tasks())

    async def progress(self) -> Progress:
        """Totals of all tasks that run or ran here."""
        total = Progress()
        total.add(self._gone)
        for driver in list(self._drivers.values()):
            total.add(_totals(driver.task))
        span = self._span
        for task in self.tasks():
            span = _joined(span, task.metrics.span)
        if span is not None:
            # All tasks share the process: its CPU time between the first and the last of them counts once.
            total.first_s, total.last_s, total.cpu_s = span.first_s, span.last_s, span.last_cpu_s - span.first_cpu_s
        total.restoring = sum(task.metrics.restoring for task in self.tasks() if isinstance(task, Task))
        total.standbys, total.standby_lag = self.standbys.count, sum(self.standbys.behind.values())
        total.lag, total.tasks = await self.lag(), len(self._drivers)
        return total

    def drivers(self) -> list[Driver]:
        """Of the tasks that run here."""
        return list(self._drivers.values())

    def tasks(self) -> list[AnyTask]:
        """The tasks that run here, or ran until the end."""
        return [driver.task for driver in self._drivers.values()]

    def _begin(self, task: TaskId, state: TaskState | None = None) -> None:
        driver = Driver(
            self._make(task, state),
            turn=self._turn,
            wait_ms=self._policy.commit_interval_ms,
            settle_when_idle=self._settle_when_idle,
        )
        self._drivers[task] = driver
        driver.start(
            failed=lambda d, error: self._failed(task, d, error),
            ended=lambda d: self._over(task, d),
        )

    def _make(self, task: TaskId, state: TaskState | None) -> AnyTask:
        stage = self._topology.stage(task.stage)
        if any(i.source for i in stage.inputs):
            return SourceTask(
                self._topology, stage, self._log, self._share.executor, nodes=self._nodes, functions=self._functions,
                registry=self._registry, policy=self._policy, budget=self._share.budget,
            )  # fmt: skip
        program = TaskProgram(
            self._topology, stage, partition=task.partition, tasks=self.width(stage), topics=self._topics,
            nodes=self._nodes, functions=self._functions, registry=self._registry,
            state_folder=self._state_folder, state=state, live=True,
        )  # fmt: skip
        return Task(
            self._topology, program, self._log, self._share.executor, policy=self._policy, budget=self._share.budget
        )

    def _make_standby(self, task: TaskId, number: int) -> Standby:
        stage = self._topology.stage(task.stage)
        return Standby(
            task=task,
            number=number,
            group=stage.standby_group(self._topology.workflow, number),
            state=make_state(self._topology, stage, task.partition, self._topics, self._state_folder),
            changelogs={(s.node, s.name): TopicPartition(s.changelog, task.partition) for s in stage.stores},
        )

    def _failed(self, task: TaskId, driver: Driver, error: BaseException) -> None:
        self._count(driver.task)
        # The process that had a task before may not be done with its folder.
        waits = LogUnavailable if self._on_lost is None else (LogUnavailable, StateBusy)
        if isinstance(error, waits) and not self._closing:
            self._again(task, driver, str(error))  # nobody is to blame in this process
            return
        if self._drivers.get(task) is driver:
            del self._drivers[task]
        self.error = self.error or error
        self._ended.set()

    def _over(self, task: TaskId, driver: Driver) -> None:
        if driver.task.halted is not None:
            self.halted = self.halted or driver.task.halted
            self._ended.set()
        if self._drivers.get(task) is not driver:
            self._count(driver.task)
            return
        if driver.state != "lost":
            if not self._closing and driver.task.halted is None:
                # Nobody asked it to end: something in it was cancelled. Its rows wait for a task that goes on.
                self._count(driver.task)
                self._again(task, driver, "it ended by itself")
            return
        if self._on_lost is None and self.error is None:
            # Said even when all tasks end anyway: its last commit did not happen, and nobody else makes up for it.
            self.error = driver.fenced
            self._ended.set()
        if not self._closing:
            self._count(driver.task)
            del self._drivers[task]
            if self._on_lost is not None:
                self._on_lost(task)

    def _again(self, task: TaskId, driver: Driver, why: str) -> None:
        """Take a task over again, later and later; not one that was dropped meanwhile."""
        if self._drivers.get(task) is not driver:
            return
        del self._drivers[task]
        now = time.monotonic()
        tries = 0 if now - driver.started_s > _FORGIVEN_AFTER_S else self._tries.get(task, 0)
        self._tries[task] = tries + 1
        _log.warning("task_restarts", task=str(task), tries=tries + 1, error=why)
        self._due_s[task] = now + min(_RESTART_AFTER_S * 2**tries, _RESTART_AFTER_S_MAX)
        self._ended.set()

    def _restart(self) -> None:
        now = time.monotonic()
        for task in [task for task, due in self._due_s.items() if due <= now]:
            del self._due_s[task]
            self._begin(task)

    def _look_for_stuck(self) -> None:
        """Tell where tasks stand that have not moved for long. One that never began is begun anew: whatever it waits
        for, no work of a user is in it.
        """
        now_s, stuck = time.monotonic(), []
        for task, driver in list(self._drivers.items()):
            mark = (driver.started_s, driver.moved_s, driver.task.metrics.restoring)
            seen, since_s = self._marks.get(task, (None, now_s))
            if mark == seen and now_s - since_s < _STUCK_S:
                continue
            self._marks[task] = (mark, now_s)
            if mark == seen:
                stuck.append((task, driver))
        if stuck:
            tell([driver for _, driver in stuck])
        for task, driver in stuck:
            if driver.state == "starting":
                self._again(task, driver, "it does not begin")
                driver.abandon()  # counted when it has ended

    def _count(self, task: AnyTask) -> None:
        self._gone.add(_totals(task))
        self._span = _joined(self._span, task.metrics.span)


def state_root(policy: RunPolicy, folder: str) -> str:
    """Where state is kept on disk; empty if it is in memory."""
    return (folder or STATE_FOLDER) if policy.state == "rocksdb" else ""


def _totals(task: AnyTask) -> Progress:
    metrics, source = task.metrics, isinstance(task, SourceTask)
    return Progress(
        rows_in=0 if source else metrics.rows_in,
        rows_out=0 if source else metrics.rows_out,
        dead=metrics.dead,
        commits=metrics.commits,
        restored=0 if source else metrics.restored,
        stages={task.stage.id: metrics.rows_in},
        steps=dict(metrics.steps),
        spent_s=dict(metrics.spent_s),
    )


def _joined(one: Span | None, other: Span | None) -> Span | None:
    """The span from the beginning of the earlier to the end of the later one."""
    if one is None or other is None:
        return one or other
    return Span(
        min(one.first_s, other.first_s),
        min(one.first_cpu_s, other.first_cpu_s),
        max(one.last_s, other.last_s),
        max(one.last_cpu_s, other.last_cpu_s),
    )
