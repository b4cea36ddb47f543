"""Who runs which task: the same answer on every member, balanced, and with as few moves as possible.

Tasks of a stage stand for partitions of the stage's ledger topic, so "topic and partition" here is "stage and task".
All inputs of a task come with it, since they are co-partitioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

Partitions = dict[str, list[int]]  # topic -> partitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a member had when it was last given something, and in which generation of the group.

    `copies`: tasks whose state lies on the member's disk, however old: there it need not be read from the start.
    """

    generation: int = -1
    partitions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    copies: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Bytes for the member's user data."""
        said = {"g": self.generation, "p": self.partitions, **({"c": self.copies} if self.copies else {})}
        return orjson.dumps(said)

    @classmethod
    def load(cls, data: bytes | None) -> Claim:
        """A claim from user data. What cannot be read (another version, another program) claims nothing."""
        try:
            said = orjson.loads(data or b"{}")
            held, copies = (
                {str(t): tuple(int(p) for p in ps) for t, ps in said.get(name, {}).items()} for name in ("p", "c")
            )
            return cls(generation=int(said.get("g", -1)), partitions=held, copies=copies)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            return cls()


def assign(topics: Mapping[str, int], members: Mapping[str, Claim]) -> dict[str, Partitions]:
    """Partitions of each topic for each member.

    Within a topic, and in total, no member has more than one partition above another. A member keeps what it claims as
    far as that allows; of two claims on one partition the later generation's holds. What has to move goes to a member
    that has a copy of its state, where there is one that may take more.

    `topics`: topic -> number of partitions. `members`: at least one.
    """
    given: dict[str, Partitions] = {member: {} for member in members}
    total = dict.fromkeys(members, 0)
    for topic in sorted(topics):
        owner = _claimed(topic, topics[topic], members)
        held = {member: [p for p, m in owner.items() if m == member] for member in members}
        share, rest = divmod(topics[topic], len(members))
        # The partitions that do not divide evenly go to those who have least; among them to those who hold more.
        copies = {member: set(members[member].copies.get(topic, ())) for member in members}
        ranked = sorted(members, key=lambda m: (total[m], -len(held[m]), -len(copies[m]), m))
        quota = {member: share + (rank < rest) for rank, member in enumerate(ranked)}
        mine = {member: _kept(held[member], quota[member], member, copies) for member in members}
        free = sorted(set(range(topics[topic])) - {p for ps in mine.values() for p in ps})
        for copied in (True, False):
            for member in ranked:
                fits = [p for p in free if p in copies[member] or not copied]
                more = fits[: quota[member] - len(mine[member])]
                free = [p for p in free if p not in more]
                mine[member] += more
        for member, partitions in mine.items():
            total[member] += len(partitions)
            if partitions:
                given[member][topic] = sorted(partitions)
    return given


def _kept(held: list[int], quota: int, member: str, copies: Mapping[str, set[int]]) -> list[int]:
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
