"""Gives items to a workflow again: what `executions retry` and `executions resume` do, each at most once.

What was given again is on topic `<workflow>.again`, and so is the memory of it. A call first fences all older ones (and
those of `dlq redrive`: one dead letter is not to go both ways), then reads what was given, then writes the rest; a call
that is killed has written some of it, whole, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from streamflow.model.positions import Committed, TopicPartition, position_of
from streamflow.runtime.again_log import given_again, read_again, retry_id
from streamflow.runtime.again_records import Again, encode_again
from streamflow.runtime.dead_letter_log import REDRIVEN, pages
from streamflow.runtime.record_at import record_at
from streamflow.sdk.errors import StreamflowError

if TYPE_CHECKING:
    from types import TracebackType

    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.log import Log, Producer, TopicInfo
    from streamflow.topology.plan import Topology

_TOGETHER: Final = 200  # records of one transaction
_ON_LETTERS: Final = frozenset(("resume", "rollback"))  # what a dead letter ends by


class NotRecoverable(StreamflowError):
    """The workflow has no topic by which its executions could be given anything."""

    code = "SF614"


@dataclass(frozen=True, slots=True)
class Refused:
    """An execution, or a dead letter of it, that cannot be given again."""

    execution: str
    why: str
    mend: str = ""


@dataclass(slots=True)
class Written:
    """What a call has done. `became`: by execution that was retried, the one that is its retry."""

    given: list[Again] = field(default_factory=list)
    became: dict[str, str] = field(default_factory=dict)


class Recover:
    """One call of a command. Use it as an async context manager: it fences on entering."""

    def __init__(self, log: Log, topology: Topology, *, dry_run: bool) -> None:
        self.log, self.topology, self._dry_run = log, topology, dry_run
        self.topic = f"{topology.workflow}.again"
        self.given: list[tuple[int, Again]] = []  # (partition, record): all there are
        self.topics: dict[str, TopicInfo] = {}
        self.refused: list[Refused] = []
        self.only: frozenset[int] | None = None  # dead letters that are looked at; None: all
        self._producer: Producer | None = None
        self._redriven: dict[str, int] = {}

    async def __aenter__(self) -> Recover:
        self.topics = dict(await self.log.topics())
        if self.topic not in self.topics:
            raise NotRecoverable(
                f"{self.topology.workflow!r} has not run yet with executions that can be recovered.",
                mend="Run it once: `streamflow run`, or `streamflow worker`, makes its topic.",
            )
        if not self._dry_run:
            self._producer = await self.log.producer(f"{self.topology.workflow}.redrive")
        self.given = await given_again(self.log, self.topology)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.close()

    @property
    def resumed(self) -> set[int]:
        """Dead letters that were given again."""
        return {r.letter for _, r in self.given if r.action in _ON_LETTERS}

    @property
    def compensated(self) -> set[int]:
        """Dead letters of items whose steps were undone by a command."""
        return {r.letter for _, r in self.given if r.action == "compensate"}

    @property
    def retried(self) -> dict[str, str]:
        """By execution that was retried, its last retry."""
        return {r.execution: self.id_of(p, r) for p, r in self.given if r.action == "retry"}

    def id_of(self, partition: int, record: Again) -> str:
        """The execution that a retry begins."""
        return retry_id(self.topics[self.topic], partition, record)

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Dead letters that nobody has given again yet."""
        resumed, only = self.resumed, self.only
        async for page in pages(self.log, self.topology, min(only, default=0) if only is not None else 0):
            for letter in page:
                if only is not None and letter.position not in only:
                    continue
                if letter.position not in resumed and letter.position >= await self._redriven_to(letter.node):
                    yield letter

    async def _redriven_to(self, node: str) -> int:
        if node not in self._redriven:
            groups = (f"{self.topology.workflow}.redrive", f"{self.topology.workflow}.redrive.{node}")
            at = TopicPartition(f"{self.topology.workflow}.dead-letter", 0)
            found = [(await self.log.committed(group, [at])).get(at, Committed(0)).offset for group in groups]
            self._redriven[node] = max(found)
        return self._redriven[node]

    def refuse(self, execution: str, why: str, mend: str = "") -> None:
        self.refused.append(Refused(execution, why, mend))

    async def write(self, wanted: Sequence[tuple[int, Again]]) -> Written:
        """Write records, each to the partition of its task. Raises Fenced when another call takes over."""
        done = Written(given=[record for _, record in wanted])
        if self._producer is None:
            return done
        for at in range(0, len(wanted), _TOGETHER):
            part = wanted[at : at + _TOGETHER]
            places = {p: TopicPartition(self.topic, p) for p, _ in part}
            begins = {p: (await self.log.offsets(place))[1] for p, place in places.items()}
            await self._producer.begin()
            for p, place in places.items():
                await self._producer.append(place, encode_again([record for to, record in part if to == p]))
            await self._producer.commit()
            for p, place in places.items():
                mine = {record.execution for to, record in part if to == p}
                async for record in read_again(self.log, place, begins[p]):
                    if record.action == "retry" and record.execution in mine:
                        done.became[record.execution] = self.id_of(p, record)
        return done

    def task_of(self, execution: str, partition: int) -> int | None:
        """The partition of the task that is to take something; None (and refused) where it reads none."""
        count = self.topics[self.topic].partitions
        if 0 <= partition < count:
            return partition
        self.refuse(
            execution,
            f"it belongs to task {partition}, and topic {self.topic!r} has {count} partitions.",
            "Give the topic as many partitions as the workflow has tasks.",
        )
        return None

    async def trigger_record(self, execution: str) -> tuple[int, Again] | None:
        """The task that takes the trigger item of an execution, and the retry; None (and refused): there is none."""
        place = position_of(execution)
        if place is None:
            self.refuse(
                execution,
                "its id is no place on a topic: it began in a window or a join.",
                "Retry the executions whose items went into it.",
            )
            return None
        topic, incarnation, partition, offset = place
        info = self.topics.get(topic)
        if info is None or info.incarnation != incarnation or partition >= info.partitions:
            self.refuse(execution, f"topic {topic!r} is not there, or was made anew since.")
            return None
        if topic == self.topic:
            return self._retried_before(execution, partition, offset)
        found = next(((s, i) for s in self.topology.stages for i in s.inputs if i.topic == topic and s.again), None)
        kinds = {t.name: t.kind for t in self.topology.topics}
        if found is None or kinds.get(topic) == "repartition":
            self.refuse(execution, f"no trigger of this workflow reads topic {topic!r}.")
            return None
        stage, entry = found
        if entry.extent != "item":
            self.refuse(
                execution,
                f"trigger {entry.node!r} begins one execution for each {entry.extent}, not for each item.",
                "Have the trigger read its items anew.",
            )
            return None
        record = await record_at(self.log, TopicPartition(topic, partition), offset)
        if record is None:
            self.refuse(
                execution, f"its record {topic}/{partition} offset {offset} is gone: the topic keeps none so old."
            )
            return None
        headers = tuple((key, value) for key, value in record.headers if key != REDRIVEN)
        again = Again(
            action="retry", stage=stage.id, node=entry.node, execution=execution, timestamp_ms=record.timestamp_ms,
            topic=topic, partition=partition, offset=offset, key=record.key, value=record.value, headers=headers,
        )  # fmt: skip
        return partition, again

    def _retried_before(self, execution: str, partition: int, offset: int) -> tuple[int, Again] | None:
        """An execution that is a retry itself is retried from the same item."""
        before = next((r for p, r in self.given if p == partition and r.position == offset), None)
        if before is None or before.action != "retry":
            self.refuse(execution, "there is no such execution.")
            return None
        for stage in self.topology.stages:
            for entry in stage.inputs:
                if entry.node == before.node and stage.again:
                    return partition, replace(before, execution=execution, stage=stage.id, position=-1)
        self.refuse(execution, f"there is no trigger {before.node!r} any more.")
        return None
