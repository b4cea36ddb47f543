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
    """What a member had when it was last given something, and in which generation of the group."""

    generation: int = -1
    partitions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Bytes for the member's user data."""
        return orjson.dumps({"g": self.generation, "p": {t: list(ps) for t, ps in self.partitions.items()}})

    @classmethod
    def load(cls, data: bytes | None) -> Claim:
        """A claim from user data. What cannot be read (another version, another program) claims nothing."""
        try:
            said = orjson.loads(data or b"{}")
            held = {str(t): tuple(int(p) for p in ps) for t, ps in said.get("p", {}).items()}
            return cls(generation=int(said.get("g", -1)), partitions=held)
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            return cls()


def assign(topics: Mapping[str, int], members: Mapping[str, Claim]) -> dict[str, Partitions]:
    """Partitions of each topic for each member.

    Within a topic, and in total, no member has more than one partition above another. A member keeps what it claims as
    far as that allows; of two claims on one partition the later generation's holds.

    `topics`: topic -> number of partitions. `members`: at least one.
    """
    given: dict[str, Partitions] = {member: {} for member in members}
    total = dict.fromkeys(members, 0)
    for topic in sorted(topics):
        owner = _claimed(topic, topics[topic], members)
        held = {member: [p for p, m in owner.items() if m == member] for member in members}
        share, rest = divmod(topics[topic], len(members))
        # The partitions that do not divide evenly go to those who have least; among them to those who hold more.
        ranked = sorted(members, key=lambda m: (total[m], -len(held[m]), m))
        quota = {member: share + (rank < rest) for rank, member in enumerate(ranked)}
        kept = {member: held[member][: quota[member]] for member in members}
        taken = {p for ps in kept.values() for p in ps}
        free = (p for p in range(topics[topic]) if p not in taken)
        for member in ranked:
            mine = sorted([*kept[member], *(next(free) for _ in range(quota[member] - len(kept[member])))])
            total[member] += len(mine)
            if mine:
                given[member][topic] = mine
    return given


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
