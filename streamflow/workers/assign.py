"""Who runs which task: the same answer on every member, balanced, and with as few moves as possible.

Tasks of a stage stand for partitions of the stage's ledger topic, so "topic and partition" here is "stage and task".
All inputs of a task come with it, since they are co-partitioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        held = {member: [p for p, m in owner.items() if m == member] for member in members}
        share, rest = divmod(topics[topic], len(members))
        # The partitions that do not divide evenly go to those who have least; among them to those who hold more.
        copies = {member: members[member].has_state(topic) for member in members}
        ranked = sorted(members, key=lambda m: (total[m], -len(held[m]), -len(copies[m]), m))
        quota = {member: share + (rank < rest) for rank, member in enumerate(ranked)}
        mine = {member: _kept(held[member], quota[member], member, copies) for member in members}
        free = sorted(set(range(topics[topic])) - {p for ps in mine.values() for p in ps})
        near = [(behind, rank, p) for rank, member in enumerate(ranked) for p, behind in copies[member].items()]
        for _, rank, p in sorted(near):
            if p in free and len(mine[ranked[rank]]) < quota[ranked[rank]]:
                free.remove(p)
                mine[ranked[rank]].append(p)
        for member in ranked:
            more = free[: quota[member] - len(mine[member])]
            free = free[len(more) :]
            mine[member] += more
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
        state = {member: members[member].has_state(topic) for member in members}
        for number in range(count):
            for p in range(topics[topic]):
                free = [m for m in members if p not in given[m].get(topic, ()) and p not in placed[m].get(topic, {})]
                if not free:
                    continue
                best = min(free, key=lambda m: (here[m] >= share, state[m].get(p, UNKNOWN + 1), here[m], total[m], m))
                placed[best].setdefault(topic, {})[p] = number
                here[best] += 1
                total[best] += 1
    return placed


def _kept(held: list[int], quota: int, member: str, copies: Mapping[str, Mapping[int, int]]) -> list[int]:
    """What a member keeps of what it holds; it gives away first what others have copies of."""
    others = {p for other, partitions in copies.items() if other != member for p in partitions}
    return sorted(held, key=lambda p: (p in others, p))[:quota]


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
