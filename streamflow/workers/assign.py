"""Who runs which task: the same answer on every member, balanced, and with as few moves as possible.

Tasks of a stage stand for partitions of the stage's ledger topic, so "topic and partition" here is "stage and task".
All inputs of a task come with it, since they are co-partitioned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final

import orjson

Partitions = dict[str, list[int]]  # topic -> partitions
Standbys = dict[str, dict[int, int]]  # topic -> partition -> which of the task's standbys, from 0
UNKNOWN: Final = 1 << 62  # offsets that a copy is behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a member had when it was last given something, and in which generation of the group.

    `copies`: tasks whose state lies on the member's disk, however old: there it need not be read from the start.
    `behind`: tasks whose state the member restores as a standby, each with how many offsets of changelogs it has yet to
    read.
    """

    generation: int = -1
    partitions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    copies: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    behind: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Bytes for the member's user data."""
        said: dict[str, object] = {"g": self.generation, "p": self.partitions}
        if self.copies:
            said["c"] = self.copies
        if self.behind:
            said["b"] = {topic: sorted(lags.items()) for topic, lags in self.behind.items()}
        return orjson.dumps(said)

    def has_state(self, topic: str) -> Mapping[int, int]:
        """Partitions whose tasks' state is here, and how far it is behind: that of a disk by an unknown number."""
        return {**dict.fromkeys(self.copies.get(topic, ()), UNKNOWN), **self.behind.get(topic, {})}

    @classmethod
    def load(cls, data: bytes | None) -> Claim:
        """A claim from user data. What cannot be read (another version, another program) claims nothing."""
        try:
            said = orjson.loads(data or b"{}")
            held, copies = (
                {str(t): tuple(int(p) for p in ps) for t, ps in said.get(name, {}).items()} for name in ("p", "c")
            )
            behind = {str(t): {int(p): max(0, int(n)) for p, n in lags} for t, lags in said.get("b", {}).items()}
            return cls(generation=int(said.get("g", -1)), partitions=held, copies=copies, behind=behind)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            return cls()


def assign(topics: Mapping[str, int], members: Mapping[str, Claim]) -> dict[str, Partitions]:
    """Partitions of each topic for each member.

    Within a topic, and in total, no member has more than one partition above another. A member keeps what it claims as
    far as that allows; of two claims on one partition the later generation's holds. What has to move goes to a member
    that has its state, where there is one that may take more; of several to the one that is least behind.

    `topics`: topic -> number of partitions. `members`: at least one.
    """
    given: dict[str, Partitions] = {member: {} for member in members}
    total = dict.fromkeys(members, 0)
    for topic in sorted(topics):
        owner = _claimed(topic, topics[topic], members)
        held: dict[str, list[int]] = {member: [] for member in members}
        for p, member in owner.items():
            held[member].append(p)
        share, rest = divmod(topics[topic], len(members))
        # The partitions that do not divide evenly go to those who have least; among them to those who hold more, then
        # to those who have the state of what nobody holds.
        copies = {member: members[member].has_state(topic) for member in members}
        heirs = {m: sum(p < topics[topic] and p not in owner for p in copies[m]) for m in members}
        ranked = sorted(members, key=lambda m: (total[m], -len(held[m]), -heirs[m], -len(copies[m]), m))
        quota = {member: share + (rank < rest) for rank, member in enumerate(ranked)}
        mine = _kept(held, quota, copies)
        free = set(range(topics[topic])).difference(*mine.values())
        near = [(behind, rank, p) for rank, member in enumerate(ranked) for p, behind in copies[member].items()]
        for _, rank, p in sorted(near):
            if p in free and len(mine[ranked[rank]]) < quota[ranked[rank]]:
                free.remove(p)
                mine[ranked[rank]].append(p)
        left = iter(sorted(free))
        for member in ranked:
            mine[member] += islice(left, quota[member] - len(mine[member]))
        for member, partitions in mine.items():
            total[member] += len(partitions)
            if partitions:
                given[member][topic] = sorted(partitions)
    return given


def place_standbys(
    topics: Mapping[str, int], given: Mapping[str, Partitions], members: Mapping[str, Claim], count: int
) -> dict[str, Standbys]:
    """Standbys for each partition: `count` members that do not own it, or as many as there are.

    Who has the state keeps it, least behind first; then those with the fewest standbys take one more, and no member
    has more of a topic than its share, rounded up, as long as others may take it. `topics`: those whose tasks keep
    state. `given`: what `assign` gave.
    """
    placed: dict[str, Standbys] = {member: {} for member in members}
    total = dict.fromkeys(members, 0)
    for topic in sorted(topics):
        share = -(-topics[topic] * min(count, len(members) - 1) // len(members))
        here = dict.fromkeys(members, 0)
        owner = {p: member for member, partitions in given.items() for p in partitions.get(topic, ())}
        state = {member: members[member].has_state(topic) for member in members}
        near: dict[int, list[str]] = {}  # partition -> members that have its state
        for member, lags in state.items():
            for p in lags:
                near.setdefault(p, []).append(member)
        keepers: list[list[str]] = [[] for _ in range(topics[topic])]
        few = [(0, total[member], member) for member in members]  # a heap; what is not so any more is passed over
        heapify(few)
        for number in range(count):
            for p in range(topics[topic]):
                barred = {owner[p], *keepers[p]}
                free = [member for member in near.get(p, ()) if member not in barred]
                free += _fewest(few, here, barred)
                if not free:
                    continue
                best = min(free, key=lambda m: (here[m] >= share, state[m].get(p, UNKNOWN + 1), here[m], total[m], m))
                placed[best].setdefault(topic, {})[p] = number
                keepers[p].append(best)
                here[best] += 1
                total[best] += 1
                heappush(few, (here[best], total[best], best))
    return placed


def _fewest(few: list[tuple[int, int, str]], here: Mapping[str, int], barred: Set[str]) -> list[str]:
    """The first member of the heap that is not barred; none if all are."""
    passed, found = [], list[str]()
    while few and not found:
        entry = heappop(few)
        if entry[0] == here[entry[2]]:
            passed.append(entry)
            found = [entry[2]] if entry[2] not in barred else []
    for entry in passed:
        heappush(few, entry)
    return found


def _kept(
    held: Mapping[str, list[int]], quota: Mapping[str, int], copies: Mapping[str, Mapping[int, int]]
) -> dict[str, list[int]]:
    """What members keep of what they hold. One gives away first what somebody with room has the state of, then what any
    other has.
    """
    having = Counter(p for partitions in copies.values() for p in partitions)
    wanted = {p for member, partitions in copies.items() if len(held[member]) < quota[member] for p in partitions}

    def fate(member: str, p: int) -> tuple[bool, bool, int]:
        return p in wanted, having[p] > (p in copies[member]), p

    return {m: sorted(ps, key=lambda p: fate(m, p))[: quota[m]] for m, ps in held.items()}


def _claimed(topic: str, count: int, members: Mapping[str, Claim]) -> dict[int, str]:
    """Owner of each claimed partition, in order of partition."""
    owner: dict[int, str] = {}
    generation: dict[int, int] = {}
    for member in sorted(members):
        claim = members[member]
        for p in claim.partitions.get(topic, ()):
            if 0 <= p < count and claim.generation > generation.get(p, -1):
                owner[p], generation[p] = member, claim.generation
    return dict(sorted(owner.items()))


def dump_standbys(standbys: Standbys) -> bytes:
    """Bytes for the note to a member; none where it keeps no standby."""
    return orjson.dumps({t: sorted(ps.items()) for t, ps in standbys.items()}) if standbys else b""


def load_standbys(note: bytes) -> Standbys:
    """What a note says; nothing where it cannot be read (another version)."""
    try:
        return {str(t): {int(p): int(n) for p, n in ps} for t, ps in orjson.loads(note or b"{}").items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return {}
