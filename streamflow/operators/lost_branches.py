"""Branches that have lost a race, as a task knows them: of an execution another branch came to a merge first, so rows
that it still has on these end where they are.

A merge says which branches lost, and says that it is over when no more rows of the execution can come to it. So what a
task remembers is what races are open, and what an execution does later, given again, finds nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeVar

BRANCH_LOST: Final = "branch_lost"  # actions of records on the control topic
BRANCH_OVER: Final = "branch_over"
_T = TypeVar("_T")
OPEN_MAX: Final = 100_000  # executions with a lost branch that a task remembers: the newest


@dataclass(frozen=True, slots=True)
class Lost:
    """What an execution has lost: rows of it end at these nodes. `text`: why, for people. `merge`: where, if at one."""

    text: str
    at_ms: int
    nodes: frozenset[str]
    merge: str = field(default="", compare=False)


class _Shared(Generic[_T]):
    """Values that many hold, of which few differ: each is there once, as long as somebody holds it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[_T, tuple[_T, int]] = {}

    def __iter__(self) -> Iterator[_T]:
        return iter(self._held)

    def clear(self) -> None:
        self._held.clear()

    def take(self, value: _T) -> tuple[_T, bool]:
        """The one that is equal, and whether nobody held it before."""
        one, count = self._held.get(value, (value, 0))
        self._held[one] = one, count + 1
        return one, count == 0

    def give(self, value: _T) -> bool:
        """Whether nobody holds it any more."""
        one, count = self._held[value]
        if count > 1:
            self._held[one] = one, count - 1
        else:
            del self._held[one]
        return count == 1


@dataclass(slots=True)
class LostBranches:
    """Open races, by execution and merge: of at most OPEN_MAX executions.

    `fresh`: executions of whose loss the nodes that hold rows have not heard.
    """

    by_execution: dict[str, Lost] = field(default_factory=dict)  # of all merges together; the oldest first
    fresh: dict[str, None] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()  # at which some execution's rows end
    _several: dict[str, dict[str, Lost]] = field(default_factory=dict)  # by merge, of executions that lost at several
    _places: _Shared[frozenset[str]] = field(default_factory=_Shared)
    _words: _Shared[str] = field(default_factory=_Shared)  # texts and merges

    def __bool__(self) -> bool:
        return bool(self.by_execution)

    def clear(self) -> None:
        for each in (self.by_execution, self.fresh, self._several, self._places, self._words):
            each.clear()
        self.nodes = frozenset()

    def add(self, execution: str, merge: str, lost: Lost) -> None:
        """A branch has lost."""
        own = self._own(execution)
        held = self._take(merge, lost)
        if merge in own:
            self._give(own[merge])
        self.by_execution.pop(execution, None)
        self._put(execution, {**own, held.merge: held})
        self.fresh[execution] = None
        if len(self.by_execution) > OPEN_MAX:
            self._forget(next(iter(self.by_execution)))

    def over(self, execution: str, merge: str) -> None:
        """No more rows of an execution can come to a merge."""
        own = self._own(execution)
        if merge not in own:
            return
        if len(own) == 1:
            self._forget(execution)
            return
        self._give(own[merge])
        self._put(execution, {name: lost for name, lost in own.items() if name != merge})

    def age(self, before_ms: int) -> None:
        """Forget what was said before a moment."""
        while self.by_execution:
            first = next(iter(self.by_execution))
            if self.by_execution[first].at_ms >= before_ms:
                return
            self._forget(first)

    def take_fresh(self) -> Mapping[str, Lost]:
        """What nodes that hold rows have not heard of; handed out once."""
        fresh, self.fresh = self.fresh, {}
        return MappingProxyType({execution: self.by_execution[execution] for execution in fresh})

    def _own(self, execution: str) -> dict[str, Lost]:
        """What an execution has lost, by merge."""
        if execution in self._several:
            return self._several[execution]
        lost = self.by_execution.get(execution)
        return {} if lost is None else {lost.merge: lost}

    def _put(self, execution: str, own: dict[str, Lost]) -> None:
        if len(own) == 1:
            self._several.pop(execution, None)
            (self.by_execution[execution],) = own.values()
            return
        self._several[execution] = own
        nodes: Set[str] = frozenset().union(*(lost.nodes for lost in own.values()))
        newest_ms = max(lost.at_ms for lost in own.values())
        text = "; ".join(lost.text for lost in own.values())
        self.by_execution[execution] = Lost(text, newest_ms, frozenset(nodes))

    def _forget(self, execution: str) -> None:
        for lost in self._own(execution).values():
            self._give(lost)
        del self.by_execution[execution]
        self._several.pop(execution, None)
        self.fresh.pop(execution, None)

    def _take(self, merge: str, lost: Lost) -> Lost:
        nodes, new = self._places.take(lost.nodes)
        if new:
            self.nodes = frozenset().union(*self._places)
        return Lost(self._words.take(lost.text)[0], lost.at_ms, nodes, self._words.take(merge)[0])

    def _give(self, lost: Lost) -> None:
        self._words.give(lost.text)
        self._words.give(lost.merge)
        if self._places.give(lost.nodes):
            self.nodes = frozenset().union(*self._places)
