"""Which calls of a step were not over in time: told to the journal, and told by it to a replay.

A node numbers its calls within a step from 0, in the order in which it makes them. What comes of a call decides which
are made next, so a replay that is told of those that were late makes the same calls under the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class LateCalls:
    """Calls of one node in one step, one behind the other. `made`: else they were not made at all, as too many before
    them had not returned.
    """

    node: str
    first: int
    count: int = 1
    made: bool = True


@dataclass(slots=True)
class CallLog:
    """The calls of the step that is under way, of one task. `told`: late ones, as a journal has them; None: it is no
    replay, and the clock says which.
    """

    told: dict[tuple[str, int], bool] | None = None  # (node, number) -> made
    _late: list[LateCalls] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, node: str) -> int:
        """Of the call that comes now."""
        number = self._numbers.get(node, 0)
        self._numbers[node] = number + 1
        return number

    def was_late(self, node: str, number: int, *, made: bool) -> None:
        last = self._late[-1] if self._late else None
        if last is not None and (last.node, last.first + last.count, last.made) == (node, number, made):
            self._late[-1] = replace(last, count=last.count + 1)
        else:
            self._late.append(LateCalls(node=node, first=number, made=made))

    def take(self) -> tuple[LateCalls, ...]:
        """Late calls of the step, which is over with that."""
        if not self._numbers:
            return ()
        late = tuple(self._late)
        self.forget()
        return late

    def forget(self) -> None:
        """The step does not count, or another begins."""
        self._late.clear()
        self._numbers.clear()

    def tell(self, late: Sequence[LateCalls]) -> None:
        """A replay: these are late in the step that comes now, and no others."""
        self.told = {(run.node, run.first + i): run.made for run in late for i in range(run.count)}
