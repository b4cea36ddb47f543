"""Standbys: they hold what their task committed, and who takes over on their state reads what they had not read.

Method: a task driven by hand on the embedded log, a standby of it beside, and a log that counts the records that are
read of changelogs. A take-over on the standby's state must go on as one from nothing does, and read the rest only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.runtime.checkpoint import make_state
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics
from streamflow.sdk.errors import LogUnavailable, StateBusy
from streamflow.sdk.log import Log, RecordBatch, TopicInfo
from streamflow.state.task_state import TaskState
from streamflow.topology.plan import Topology
from streamflow.workers.standbys import Standby, Standbys
from streamflow.workers.state_lock import StateLock
from streamflow.workers.tasks import TaskId
from tests.simulation.running import compiled, send, values, with_log

WORKFLOW = """
workflow: kept
nodes:
  numbers: {type: event, topic: in, format: json}
  latest: {type: table, key: string(n % 50)}
  sevens: {type: batch, size: 7, scope: stream}
  apart: {type: split, field: items}
  out: {type: publish, topic: out, format: json}
connections: [numbers -> latest -> sevens -> apart -> out]
policies: {commit_interval: 1ms, step_bytes_max: 600, partitions: 1}
"""
STAGE = "latest.in"
TASK = TaskId(STAGE, 0)


class CountingLog:
    """Counts the records of each topic that are read, and fails where it is told to."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.records: Counter[str] = Counter()
        self.failing = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        if self.failing:
            self.failing -= 1
            raise LogUnavailable("nobody answers")
        batches = await self._log.read(at, offset, size_bytes_max=size_bytes_max)
        self.records[at.topic] += sum(batch.count for batch in batches)
        return batches

    def changes(self) -> int:
        """Records read of changelogs since the last call."""
        count = sum(n for topic, n in self.records.items() if topic.endswith(".changelog"))
        self.records.clear()
        return count


class Ground:
    """A topology on a log, one task at a time, and a standby."""

    def __init__(self, topology: Topology, log: EmbeddedLog, folder: Path, executor: ThreadPoolExecutor) -> None:
        self.topology, self.plain, self.executor = topology, log, executor
        self.folder = str(folder) if topology.run.state == "rocksdb" else ""
        self.log = CountingLog(log)
        self.topics: dict[str, TopicInfo] = {}

    async def make(self) -> None:
        self.topics = dict(await ensure_topics(self.topology, self.plain))

    async def started(self, stage_id: str, state: TaskState | None = None) -> Task:
        stage = self.topology.stage(stage_id)
        program = TaskProgram(
            self.topology, stage, partition=0, tasks=1, topics=self.topics, nodes=registry(),
            state_folder=f"{self.folder}/own" if self.folder else "", state=state,
        )  # fmt: skip
        task = Task(self.topology, program, self.log, self.executor)  # type: ignore[arg-type]
        await task.start()
        return task

    async def work(self, task: Task) -> None:
        while await task.advance():
            pass
        await task.settle()

    def standbys(self) -> Standbys:
        return Standbys(self.log, self.topics, self.standby)  # type: ignore[arg-type]

    def standby(self, task: TaskId, number: int) -> Standby:
        stage = self.topology.stage(task.stage)
        folder = f"{self.folder}/standby" if self.folder else ""
        return Standby(
            task=task, number=number, group=stage.standby_group("kept", number),
            state=make_state(self.topology, stage, 0, self.topics, folder),
            changelogs={(s.node, s.name): TopicPartition(s.changelog, 0) for s in stage.stores},
        )  # fmt: skip


async def level(ground: Ground, standbys: Standbys, *, number: int = 0) -> None:
    """Until it has all there is, and has said so on the log."""
    group, stage = f"kept.{STAGE}.standby-{number}", ground.topology.stage(STAGE)
    ends = {at: (await ground.plain.offsets(at))[1] for at in (TopicPartition(s.changelog, 0) for s in stage.stores)}
    async with asyncio.timeout(120):
        told: dict[TopicPartition, int] = {}
        while told != ends:
            await asyncio.sleep(0.01)
            told = {at: c.offset for at, c in (await ground.plain.groups()).get(group, {}).items()}
    assert standbys.behind == {TASK: 0}


def contents(state: TaskState) -> dict[Any, dict[bytes, bytes]]:
    return {name: dict(store.scan()) for name, store in state.stores.items()}


def grounded(tmp_path: Path, state: str, work: Callable[[Ground], Coroutine[Any, Any, None]]) -> None:
    topology = compiled(WORKFLOW, tmp_path)
    topology = replace(topology, run=replace(topology.run, state=state))

    async def once(log: EmbeddedLog) -> None:
        with ThreadPoolExecutor(1) as executor:
            ground = Ground(topology, log, tmp_path / "state", executor)
            await send(log, "in", [], partitions=1)
            await ground.make()
            await work(ground)

    asyncio.run(with_log(tmp_path / "log", once))


@pytest.mark.parametrize("state", ["memory", "rocksdb"])
def test_a_take_over_on_a_standby_reads_the_rest(state: str, tmp_path: Path) -> None:
    async def work(ground: Ground) -> None:
        log = ground.log
        before, task, standbys = await ground.started("numbers"), await ground.started(STAGE), ground.standbys()
        await standbys.keep({TASK: 0})
        for first in range(0, 300, 100):
            await send(ground.plain, "in", [{"n": n} for n in range(first, first + 100)])
            await ground.work(before)
            await ground.work(task)
            await level(ground, standbys)
        await standbys.keep({TASK: 1})  # the same, by another number
        await level(ground, standbys, number=1)
        assert standbys.count == 1
        changelogs = [TopicPartition(store.changelog, 0) for store in task.stage.stores]
        ends = {at: (await ground.plain.offsets(at))[1] for at in changelogs}
        state_of = await standbys.release(TASK)
        assert state_of is not None
        assert standbys.count == 0
        # What is committed after that is the rest.
        log.changes()
        await send(ground.plain, "in", [{"n": n} for n in range(300, 330)])
        await ground.work(before)
        await ground.work(task)
        rest = sum([(await ground.plain.offsets(at))[1] - end for at, end in ends.items()])
        assert rest > 0
        held = contents(task._program.state)
        await task.close()
        log.changes()
        heir = await ground.started(STAGE, state_of)
        assert heir.metrics.restored == rest
        assert log.changes() <= rest + 2 * 100, "a batch may begin before the position"
        assert contents(state_of) == held
        await send(ground.plain, "in", [{"n": n} for n in range(330, 400)])
        await ground.work(before)
        await ground.work(heir)
        assert [row["items"]["n"] for row in await values(ground.plain, "out")] == list(range(400 // 7 * 7))
        # From nothing everything is read.
        await heir.close()
        fresh = await ground.started(STAGE, make_state(ground.topology, heir.stage, 0, ground.topics, ""))
        assert fresh.metrics.restored > 5 * rest
        await fresh.close()
        await before.close()

    grounded(tmp_path, state, work)


async def at_work(ground: Ground) -> tuple[Task, Task, Standbys]:
    """Tasks that have committed 60 numbers, the second with state; and standbys, none of which is kept yet."""
    before, task = await ground.started("numbers"), await ground.started(STAGE)
    await send(ground.plain, "in", [{"n": n} for n in range(60)])
    await ground.work(before)
    await ground.work(task)
    return before, task, ground.standbys()


def test_what_is_not_committed_is_not_seen(tmp_path: Path) -> None:
    async def work(ground: Ground) -> None:
        before, task, standbys = await at_work(ground)
        await standbys.keep({TASK: 0})
        await level(ground, standbys)
        held = contents(task._program.state)
        await send(ground.plain, "in", [{"n": n} for n in range(60, 120)])
        await ground.work(before)
        while await task.advance() and not task.has_pending:
            pass
        await level(ground, standbys)
        state = await standbys.release(TASK)
        assert state is not None
        committed = make_state(ground.topology, task.stage, 0, ground.topics, "")
        await task.close()
        judge = await ground.started(STAGE, committed)
        heir_reads = judge.metrics.restored
        assert heir_reads
        assert contents(state) == contents(committed)
        assert contents(state).keys() == held.keys()
        await judge.close()
        await before.close()

    grounded(tmp_path, "memory", work)


def test_a_log_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.workers.standbys._RETRY_S", 0.0)

    async def work(ground: Ground) -> None:
        before, task, standbys = await at_work(ground)
        ground.log.failing = 3
        await standbys.keep({TASK: 0})
        await level(ground, standbys)
        assert not ground.log.failing
        state = await standbys.release(TASK)
        assert state is not None
        assert contents(state) == contents(task._program.state)
        await standbys.close()
        await task.close()
        await before.close()

    grounded(tmp_path, "memory", work)


def test_a_copy_that_its_changelog_has_passed_by_is_begun_anew(tmp_path: Path) -> None:
    """Changes that it needs are gone from the changelog: what it has would stay wrong."""

    async def work(ground: Ground) -> None:
        before, task, standbys = await at_work(ground)
        await standbys.keep({TASK: 0})
        await level(ground, standbys)
        assert await standbys.release(TASK) is not None
        await send(ground.plain, "in", [{"n": n} for n in range(60, 120)])
        await ground.work(before)
        await ground.work(task)
        for store in task.stage.stores:
            at = TopicPartition(store.changelog, 0)
            await ground.plain.delete_records(at, (await ground.plain.offsets(at))[1] - 1)
        await standbys.keep({TASK: 0})
        await level(ground, standbys)
        state = await standbys.release(TASK)
        assert state is not None
        state.open()
        assert max(map(len, contents(state).values())) < 50
        state.close()
        await task.close()
        await before.close()

    grounded(tmp_path, "rocksdb", work)


def test_a_folder_is_shared_by_workers_or_has_one_with_standbys(tmp_path: Path) -> None:
    one, two, alone = (StateLock(str(tmp_path), "w", alone=only) for only in (False, False, True))
    one.acquire()
    two.acquire()
    with pytest.raises(StateBusy, match="a folder of its own"):
        alone.acquire()
    one.release()
    two.release()
    alone.acquire()
    with pytest.raises(StateBusy):
        one.acquire()
    StateLock(str(tmp_path), "another", alone=False).acquire()
    alone.release()
    alone.release()
    one.acquire()
    one.release()
