"""Branches that have lost a race, as a task knows them: of an execution another branch came to a merge first, so rows
that it still has on these end where they are.

A merge says which branches lost, and says that it is over when no more rows of the execution can come to it. So what a
task remembers is what races are open, and what an execution does later, given again, finds nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

BRANCH_LOST: Final = "branch_lost"  # actions of records on the control topic
BRANCH_OVER: Final = "branch_over"
OPEN_MAX: Final = 100_000  # executions with a lost branch that a task remembers: the newest


@dataclass(frozen=True, slots=True)
class Lost:
    """What an execution has lost: rows of it end at these nodes. `text`: why, for people."""

    text: str
    at_ms: int
    nodes: frozenset[str]


@dataclass(slots=True)
class LostBranches:
    """Open races, by execution and merge: of at most OPEN_MAX executions.

    `fresh`: executions of whose loss the nodes that hold rows have not heard.
    """

    by_execution: dict[str, Lost] = field(default_factory=dict)  # of all merges together
    fresh: dict[str, None] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()  # at which some execution's rows end
    _of: dict[str, dict[str, Lost]] = field(default_factory=dict)  # by execution and merge, the oldest first
    _uses: dict[frozenset[str], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._of)

    def clear(self) -> None:
        for each in (self.by_execution, self.fresh, self._of, self._uses):
            each.clear()
        self.nodes = frozenset()

    def add(self, execution: str, merge: str, lost: Lost) -> None:
        """A branch has lost."""
        before = self._of.pop(execution, {})
        if merge in before:
            self._use(before[merge].nodes, -1)
        self._of[execution] = before | {merge: lost}
        self._use(lost.nodes, 1)
        self.fresh[execution] = None
        self._together(execution)
        if len(self._of) > OPEN_MAX:
            self._forget(next(iter(self._of)))

    def over(self, execution: str, merge: str) -> None:
        """No more rows of an execution can come to a merge."""
        own = self._of.get(execution, {})
        if merge not in own:
            return
        self._use(own.pop(merge).nodes, -1)
        if own:
            self._together(execution)
        else:
            self._forget(execution)

    def age(self, before_ms: int) -> None:
        """Forget what was said before a moment."""
        while self._of:
            first = next(iter(self._of))
            if self.by_execution[first].at_ms >= before_ms:
                return
            self._forget(first)

    def take_fresh(self) -> Mapping[str, Lost]:
        """What nodes that hold rows have not heard of; handed out once."""
        fresh, self.fresh = self.fresh, {}
        return MappingProxyType({execution: self.by_execution[execution] for execution in fresh})

    def _forget(self, execution: str) -> None:
        for lost in self._of.pop(execution).values():
            self._use(lost.nodes, -1)
        self.by_execution.pop(execution, None)
        self.fresh.pop(execution, None)

    def _together(self, execution: str) -> None:
        own = self._of[execution].values()
        nodes: Set[str] = frozenset().union(*(lost.nodes for lost in own))
        newest = max(own, key=lambda lost: lost.at_ms)
        self.by_execution[execution] = Lost("; ".join(lost.text for lost in own), newest.at_ms, frozenset(nodes))

    def _use(self, nodes: frozenset[str], by: int) -> None:
        """How often a branch is lost: there are few, however many executions."""
        count = self._uses.get(nodes, 0) + by
        if count:
            self._uses[nodes] = count
        else:
            del self._uses[nodes]
        if count in (0, by):
            self.nodes = frozenset().union(*self._uses)
