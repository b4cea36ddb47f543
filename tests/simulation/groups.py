"""A group of workers in memory, dealt out by the real assignor over the real messages: who has what, and what moved.

Members join, leave, crash, freeze and come back; nothing runs and no broker is asked. Messages go through
`Membership`'s adapter and aiokafka's encoding, so their sizes are those that a coordinator would see. Who may commit a
task is modelled after Kafka's fencing: the member that last began a producer under the task's transactional id.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, cast

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from streamflow.logs.kafka.membership import Dealt, _Adapter
from streamflow.workers import assign as assignor
from streamflow.workers.assign import Claim, assign, dump_standbys, load_standbys, place_standbys

Task = tuple[str, int]  # topic that stands for a stage, partition
BEHIND_NEW, BEHIND_OLD = 5_000_000, 1_000  # offsets that a standby has yet to read: from nothing, from its disk


@dataclass(slots=True)
class Member:
    """A worker's process. `disk`: tasks whose state lies on its machine."""

    id: str
    generation: int = -1
    held: frozenset[Task] = frozenset()
    standbys: dict[Task, int] = field(default_factory=dict)  # offsets behind
    disk: set[Task] = field(default_factory=set)

    def claim(self) -> Claim:
        behind: dict[str, dict[int, int]] = {}
        for (topic, p), offsets in self.standbys.items():
            behind.setdefault(topic, {})[p] = offsets
        return Claim(
            generation=self.generation, partitions=by_topic(self.held), copies=by_topic(self.disk), behind=behind
        )

    def has_state(self, task: Task) -> bool:
        """Whether a take-over would read no more than the rest of the task's changelogs."""
        return task in self.standbys or task in self.disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What a rebalance did. Counts are of tasks, sizes in bytes; `assign_s` is CPU of the leader."""

    moved: int  # tasks that have another owner than before, those of members that are gone included
    moved_min: int  # in any dealing that is balanced in each stage and in total at least so many do
    cold: int  # of those that moved, how many begin where nothing of their state is
    cold_min: int  # of those, for how many no member that is left has any
    standbys_moved: int  # standbys that begin anew somewhere
    spread: int  # most tasks of a member, less the fewest: in all, or of one stage
    standbys_max: int  # most standbys of a member
    claim_bytes: int  # largest message of a member about itself
    claims_bytes: int  # of all of them: what the leader is sent
    given_bytes: int  # what the leader sends for all
    assign_s: float


class Dealer:
    """The assignor of one member, as a worker's is."""

    name = "streamflow-sticky"

    def __init__(self, claim: Claim, standbys: int, keeps: Iterable[str]) -> None:
        self._claim, self._standbys, self._keeps = claim, standbys, frozenset(keeps)
        self.note = b""

    def said(self) -> bytes:
        return self._claim.dump()

    def assign(self, topics: Mapping[str, int], members: Mapping[str, bytes]) -> Mapping[str, Dealt]:
        claims = {member: Claim.load(data) for member, data in members.items()}
        given = assign(topics, claims)
        placed = place_standbys({t: n for t, n in topics.items() if t in self._keeps}, given, claims, self._standbys)
        return {member: Dealt(given[member], dump_standbys(placed[member])) for member in members}

    def told(self, note: bytes) -> None:
        self.note = note


class Cluster:
    """What a client knows of the topics."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = topics

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._topics[topic]))


class Group:
    """The members, and who has what. Raises AssertionError for what must never be."""

    def __init__(
        self, topics: Mapping[str, int], *, standbys: int = 0, on_disk: bool = False, seed: int = 0, fences: bool = True
    ) -> None:
        """`topics`: one for each stage, with its number of tasks; all of them keep state where there is any.

        `fences`: whether who may commit is looked at after each that hears of a round, which takes most of the time.
        """
        self.topics, self._count, self._on_disk = dict(topics), standbys, on_disk
        self._check = fences
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.believed_max = 0  # members that believed at one moment to run one task
        self._frozen: dict[str, Member] = {}
        self._owner: dict[Task, str] = {}  # by process
        self._fence: dict[Task, str] = {}  # who last began a producer for the task
        self._disks: dict[str, set[Task]] = {}  # of machines whose process is gone
        self._processes = 0
        self._random = random.Random(seed)

    def join(self, machine: str) -> None:
        """A process begins, with what lies on its machine's disk and no memory of a group before."""
        self._processes += 1
        disk = set(self._disks.pop(machine, ()))
        # As Kafka names members: the client's id and 36 characters.
        self.members[machine] = Member(f"streamflow-{self._processes:036d}", disk=disk)

    def leave(self, machine: str) -> None:
        """A process ends, by itself or not: to the group it is the same, sooner or later."""
        self._disks[machine] = self.members.pop(machine).disk

    def freeze(self, machine: str) -> None:
        """A process stands still: the group goes on without it, and it does not know."""
        self._frozen[machine] = self.members.pop(machine)

    def thaw(self, machine: str) -> None:
        """It goes on: what it then commits is refused where others took over, and it joins again with its claim."""
        self.members[machine] = self._frozen.pop(machine)

    def catch_up(self, part: float = 1.0) -> None:
        """Standbys read on."""
        for member in self.members.values():
            member.standbys = {task: round(behind * (1 - part)) for task, behind in member.standbys.items()}

    def rebalance(self, count: Callable[[Callable[[], Any]], Any] = lambda work: work()) -> Moves:
        """One round: all say what they have, the leader deals out, each hears of it at another time.

        `count` is called with the leader's work and gives its result.
        """
        dealers = {m.id: Dealer(m.claim(), self._count, self.topics) for m in self.members.values()}
        adapters = {name: _Adapter(dealer) for name, dealer in dealers.items()}
        claims = {name: adapter.metadata(self.topics).encode() for name, adapter in adapters.items()}
        heard = {name: ConsumerProtocolMemberMetadata.decode(data) for name, data in claims.items()}
        cluster = cast(ClusterMetadata, Cluster(self.topics))
        begun_s = time.process_time()
        dealt = count(lambda: adapters[min(adapters)].assign(cluster, heard))
        assign_s = time.process_time() - begun_s
        told = {name: assignment.encode() for name, assignment in dealt.items()}
        before = {member.id: (member.held, member) for member in self.members.values()}
        least = self._moved_min()
        self.generation += 1
        given, wanted = self._dealt(told, adapters, dealers)
        new = {task for task, name in given.items() if task in self._owner and self._owner[task] != name}
        cold = {task for task in new if not before[given[task]][1].has_state(task)}
        warm_somewhere = {task for _, m in before.values() for task in (*m.standbys, *m.disk)}
        begun = sum(not before[name][1].has_state(task) for name, tasks in wanted.items() for task in tasks)
        self._tell(given, wanted)
        self._owner = given
        sizes = [len(member.held) for member in self.members.values()]
        of_stages = [Counter(t for t, _ in member.held) for member in self.members.values()]
        spreads = [max(c[t] for c in of_stages) - min(c[t] for c in of_stages) for t in self.topics]
        return Moves(
            moved=len(new), moved_min=least, cold=len(cold), cold_min=len(cold - warm_somewhere),
            standbys_moved=begun, spread=max(max(sizes) - min(sizes), *spreads),
            standbys_max=max(len(member.standbys) for member in self.members.values()),
            claim_bytes=max(map(len, claims.values())), claims_bytes=sum(map(len, claims.values())),
            given_bytes=sum(map(len, told.values())), assign_s=assign_s,
        )  # fmt: skip

    def _dealt(
        self, told: Mapping[str, bytes], adapters: Mapping[str, _Adapter], dealers: Mapping[str, Dealer]
    ) -> tuple[dict[Task, str], dict[str, set[Task]]]:
        """Owner of each task, and standbys of each member: checked."""
        given: dict[Task, str] = {}
        wanted: dict[str, set[Task]] = {}
        kept: Counter[Task] = Counter()
        for name, data in told.items():
            assignment = ConsumerProtocolMemberAssignment.decode(data)
            adapters[name].on_assignment(assignment)
            for topic, partitions in assignment.assignment:
                for p in partitions:
                    assert (topic, p) not in given, f"{topic} {p} has two owners"
                    given[topic, p] = name
            wanted[name] = {(t, p) for t, ps in load_standbys(dealers[name].note).items() for p in ps}
            kept.update(wanted[name])
        assert given.keys() == {(t, p) for t, n in self.topics.items() for p in range(n)}, "tasks without an owner"
        assert all(given[task] != name for name, tasks in wanted.items() for task in tasks), "a standby of its own"
        each = min(self._count, len(told) - 1)
        assert all(kept[task] == each for task in given), "not as many standbys as wanted"
        return given, wanted

    def _tell(self, given: Mapping[Task, str], wanted: Mapping[str, set[Task]]) -> None:
        """Members hear of it one after the other; until then each goes on with what it had. At any moment the one that
        may commit a task is the owner before, as long as the owner after has not begun, and then the latter.
        """
        waiting = list(self.members.values())
        self._random.shuffle(waiting)
        for member in waiting:
            held = frozenset(task for task, name in given.items() if name == member.id)
            # A producer begins where a task does, and anew where the member was fenced while it stood still.
            begins = {task for task in held if task not in member.held or self._fence[task] != member.id}
            self._fence.update(dict.fromkeys(begins, member.id))
            disk = (*held, *wanted[member.id]) if self._on_disk else ()
            member.standbys = {
                task: member.standbys.get(task, BEHIND_OLD if task in member.disk else BEHIND_NEW)
                for task in wanted[member.id]
            }
            member.held, member.generation = held, self.generation
            member.disk.update(disk)
            if self._check:
                self._check_fences(given, {at.id for at in waiting[: waiting.index(member) + 1]})

    def _check_fences(self, given: Mapping[Task, str], heard: Set[str]) -> None:
        """`heard`: members that know of the round. The others, and frozen ones, believe what they did."""
        believers = Counter(task for m in (*self.members.values(), *self._frozen.values()) for task in m.held)
        for task, believed in believers.items():
            may = self._fence[task]
            assert may == (given[task] if given[task] in heard else self._owner.get(task)), f"{task}: {may} may commit"
            self.believed_max = max(self.believed_max, believed)

    def _moved_min(self) -> int:
        """Tasks whose owner is gone, and what members have above a balanced share: of a stage, or of all."""
        names = {member.id for member in self.members.values()}
        held = {task: name for task, name in self._owner.items() if name in names}
        of_stages = 0
        for topic, count in self.topics.items():
            of_stages += sum(t == topic for t, _ in self._owner) - _kept(
                [name for (t, _), name in held.items() if t == topic], count, len(names)
            )
        in_all = len(self._owner) - _kept(list(held.values()), sum(self.topics.values()), len(names))
        return max(of_stages, in_all)


def _kept(owners: list[str], count: int, members: int) -> int:
    """How many of what they own members can keep where each gets its share of `count`."""
    share, rest = divmod(count, members)
    mine = sorted(Counter(owners).values(), reverse=True)
    return sum(min(n, share + (rank < rest)) for rank, n in enumerate(mine))


def by_topic(tasks: Iterable[Task]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for topic, p in sorted(tasks):
        found.setdefault(topic, []).append(p)
    return {topic: tuple(partitions) for topic, partitions in found.items()}


def steps(work: Callable[[], Any]) -> tuple[Any, int]:
    """The result of some work, and how many instructions of Python the assignor took: the same on any machine.

    What one instruction does in C (`sorted`, a scan of a list) counts as one.
    """
    found = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal found
        if frame.f_code.co_filename != assignor.__file__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        found += event == "opcode"
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        return work(), found
    finally:
        sys.settrace(old)
