"""One of several processes that share the tasks of a topology on Kafka.

The group `<workflow>` decides who runs what. Its members subscribe to the ledgers of all stages, whose partitions are
the tasks; positions are committed elsewhere, by each task under its stage's own group.

Tasks go on working while the group deals them out again: what was begun is committed before the rebalance, and a task
that its member has lost is fenced by its next owner, so no moment is needed in which nobody works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamflow.logs.kafka import KafkaLog
from streamflow.logs.kafka.membership import Dealt, Membership
from streamflow.model.positions import TopicPartition
from streamflow.runtime.control import copies
from streamflow.sdk.errors import UsageError
from streamflow.sdk.events import Logger
from streamflow.sdk.log import Log
from streamflow.state.task_state import folder_of
from streamflow.topology.plan import Topology
from streamflow.workers.assign import Claim, assign, dump_standbys, load_standbys, place_standbys
from streamflow.workers.fleet import Fleet, state_root
from streamflow.workers.state_lock import StateLock
from streamflow.workers.tasks import TaskId
from streamflow.workers.worker import Worker

_log = Logger(__name__)
_SETTLE_S_MAX = 20.0  # a task that cannot commit for so long must not hold the whole group up


class KafkaWorker(Worker):
    """A `Worker` that shares the tasks with the other members of the workflow's group."""

    def __init__(self, topology: Topology, log: KafkaLog, *, session_timeout_ms: int = 10_000, **options: Any) -> None:
        """`session_timeout_ms`: how long a worker may be silent before its tasks go to others."""
        policy, folder = options.get("policy") or topology.run, options.get("state_folder", "")
        owner = Shared(
            topology, log, session_timeout_ms=session_timeout_ms, state_folder=state_root(policy, folder),
            standbys=policy.standbys,
        )  # fmt: skip
        super().__init__(topology, log, owner, **options)


def kafka_worker(topology: Topology, log: Log, **options: Any) -> KafkaWorker:
    """A worker on `log`, which must be a cluster's."""
    if not isinstance(log, KafkaLog):
        raise UsageError(f"{log.address} is no Kafka cluster.", mend="Give --log kafka://HOST:PORT.")
    return KafkaWorker(topology, log, **options)


class Shared:
    """The `Owner` that asks the group."""

    alone = False
    name = "streamflow-sticky"  # of the assignor, as the group's members know it

    def __init__(
        self, topology: Topology, log: KafkaLog, *, session_timeout_ms: int, state_folder: str = "", standbys: int = 0
    ) -> None:
        """`state_folder`: below which state of tasks lies on this machine's disk; empty if it is in memory.
        `standbys`: of each task with state; what the leader of the group was given counts.
        """
        self._standbys, self._keeps = standbys, {stage.ledger for stage in topology.stages if stage.stores}
        self._placed: dict[TaskId, int] = {}
        self._lock = StateLock(state_folder, topology.workflow, alone=standbys > 0) if state_folder else None
        self._topology, self._log, self._state_folder = topology, log, state_folder
        self._session_timeout_ms = session_timeout_ms
        self._stages = {stage.ledger: stage.id for stage in topology.stages}
        self._claim = Claim()
        self._membership: Membership | None = None
        self._fleet: Fleet | None = None

    async def begin(self, fleet: Fleet) -> None:
        self._fleet = fleet
        if self._lock is not None:
            self._lock.acquire()
        self._membership = Membership(
            self._log.client_settings(),
            group=self._topology.workflow,
            topics=self._stages,
            assignor=self,
            revoking=self._revoking,
            assigned=self._assigned,
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=min(1_000, self._session_timeout_ms // 3),
        )
        await self._membership.join()

    async def watch(self, fleet: Fleet) -> None:
        assert self._membership is not None, "begin() comes first"
        await self._membership.failed()

    async def idle(self, fleet: Fleet) -> bool:
        """Also what the other members run: their positions are on the log.

        Kafka may show that a task has read before it shows what that wrote in the same transaction. So what open
        transactions have written counts as not read: it was there before the positions were committed. Stages are
        asked in order of flow, each for its positions before its ends; so what one passed on is seen at the next.
        """
        if self._claim.generation < 0:
            return False
        read = await self._all_read(fleet)
        if read is None or not any(i.back for stage in self._topology.stages for i in stage.inputs):
            return read is not None
        # Rows that go round may have been behind whoever looks: nothing was on its way at the moment between two looks
        # that found everything read, up to the same ends.
        return read == await self._all_read(fleet)

    async def _all_read(self, fleet: Fleet) -> Mapping[tuple[str, TopicPartition], int] | None:
        """How far all tasks have read, if that is everything; else None."""
        read: dict[tuple[str, TopicPartition], int] = {}
        for stage in self._topology.stages:
            for partition in range(fleet.width(stage)):
                ends = await self._ends(stage.id, partition)
                if ends is None:
                    return None
                read |= {(stage.id, at): end for at, end in ends.items()}
        return read

    async def _ends(self, stage_id: str, partition: int) -> Mapping[TopicPartition, int] | None:
        """The ends of a task's inputs; None where it has not read up to there."""
        stage = self._topology.stage(stage_id)
        wanted = [TopicPartition(i.topic, partition) for i in stage.inputs if not i.source]
        closed = frozenset() if self._fleet is None else self._fleet.closed(TaskId(stage_id, partition))
        wanted = [at for at in wanted if partition < self._partitions(at.topic) and at not in closed]
        width = self._fleet.width(stage) if self._fleet is not None else 1
        for table in copies(stage):  # what this task counts
            topic = table.input.topic
            wanted += [TopicPartition(topic, p) for p in range(partition, self._partitions(topic), width)]
        committed = await self._log.committed(stage.group(self._topology.workflow), wanted)
        ends: dict[TopicPartition, int] = {}
        for at in wanted:
            start, ends[at] = await self._log.offsets(at)
            if (committed[at].offset if at in committed else start) < ends[at]:
                return None
            if await self._log.written_end(at) > ends[at]:  # asked only when all seems over
                return None
        return ends

    def _partitions(self, topic: str) -> int:
        assert self._fleet is not None
        return self._fleet.partitions(topic)

    def lost(self) -> None:
        _log.info("fenced", workflow=self._topology.workflow)
        if self._membership is not None:
            self._membership.rejoin()

    async def end(self) -> None:
        if self._membership is not None:
            await self._membership.leave()
        if self._lock is not None:
            self._lock.release()

    async def _revoking(self) -> None:
        assert self._fleet is not None
        _log.info("rebalance", workflow=self._topology.workflow)
        try:
            async with asyncio.timeout(_SETTLE_S_MAX):
                await self._fleet.settle()
        except TimeoutError:
            _log.warning("not_settled", workflow=self._topology.workflow)  # fencing decides

    async def _assigned(self, given: frozenset[TopicPartition]) -> None:
        assert self._fleet is not None
        assert self._membership is not None
        held: dict[str, tuple[int, ...]] = {}
        for at in sorted(given):
            held[at.topic] = (*held.get(at.topic, ()), at.partition)
        self._claim = Claim(generation=self._membership.generation, partitions=held)
        _log.info("assigned", generation=self._claim.generation, tasks=held)
        mine = [TaskId(self._stages[at.topic], at.partition) for at in given]
        await self._fleet.own(mine, {task: number for task, number in self._placed.items() if task not in mine})

    def said(self) -> bytes:
        behind: dict[str, dict[int, int]] = {}
        ledgers = {stage: ledger for ledger, stage in self._stages.items()}
        for task, offsets in self._fleet.standbys.behind.items() if self._fleet is not None else ():
            behind.setdefault(ledgers[task.stage], {})[task.partition] = offsets
        return replace(self._claim, copies=self._copies(), behind=behind).dump()

    def _copies(self) -> dict[str, tuple[int, ...]]:
        """Tasks whose state lies here, by ledger."""
        if not self._state_folder:
            return {}
        root, workflow = Path(self._state_folder), self._topology.workflow
        found: dict[str, tuple[int, ...]] = {}
        for ledger, stage in self._stages.items():
            names = [path.name for path in folder_of(root, workflow, stage).glob("*") if path.is_dir()]
            if partitions := tuple(sorted(int(name) for name in names if name.isdecimal())):
                found[ledger] = partitions
        return found

    def assign(self, topics: Mapping[str, int], members: Mapping[str, bytes]) -> Mapping[str, Dealt]:
        claims = {member: Claim.load(data) for member, data in members.items()}
        given = assign(topics, claims)
        kept = {topic: count for topic, count in topics.items() if topic in self._keeps}
        placed = place_standbys(kept, given, claims, self._standbys)
        return {member: Dealt(given[member], dump_standbys(placed[member])) for member in members}

    def told(self, note: bytes) -> None:
        placed = load_standbys(note)
        self._placed = {
            TaskId(self._stages[topic], p): number
            for topic, partitions in placed.items()
            if topic in self._keeps
            for p, number in partitions.items()
        }
