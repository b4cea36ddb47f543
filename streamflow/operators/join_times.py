"""When rows of two sides may meet: within an interval, in one window, as of a time, or at any time.

Times are ms of event time, arrays have one entry a row. Ranges hold both of their ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")
NEVER: Final = 2**63 - 1
_EVER: Final = -(2**63)


def other(side: Side) -> Side:
    return "right" if side == "left" else "left"


class JoinTimes(Protocol):
    """The rule of a join. `holds_ms`: see `sdk.operator.Timed`."""

    @property
    def holds_ms(self) -> int: ...

    def partners(self, side: Side, ts: Int64s) -> tuple[Int64s, Int64s]:
        """The least and the greatest time of rows on the other side that a row meets."""
        ...

    def closes(self, side: Side, ts: Int64s) -> Int64s:
        """The watermark at which a row waits no longer; one that comes then is late."""
        ...

    def forgotten(self, side: Side, ts: Int64s) -> Int64s:
        """The watermark at which no row will ask for it any more; never before it closes."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """A right row is at most `before_ms` earlier and at most `after_ms` later than the left one."""

    before_ms: int
    after_ms: int
    grace_ms: int

    @property
    def holds_ms(self) -> int:
        return max(self.before_ms, self.after_ms, 0) + self.grace_ms

    def partners(self, side: Side, ts: Int64s) -> tuple[Int64s, Int64s]:
        if side == "left":
            return ts - self.before_ms, ts + self.after_ms
        return ts - self.after_ms, ts + self.before_ms

    def closes(self, side: Side, ts: Int64s) -> Int64s:
        # Nobody is late at his own time, even where all partners are to lie on one side of it.
        ahead = max(self.after_ms if side == "left" else self.before_ms, 0)
        return ts + (ahead + self.grace_ms + 1)

    def forgotten(self, side: Side, ts: Int64s) -> Int64s:
        return self.closes(side, ts)


@dataclass(frozen=True, slots=True)
class SameWindow:
    """Both are in one window `[start, start + size_ms)`, where starts are multiples of the size."""

    size_ms: int
    grace_ms: int

    @property
    def holds_ms(self) -> int:
        return self.size_ms + self.grace_ms

    def partners(self, side: Side, ts: Int64s) -> tuple[Int64s, Int64s]:
        del side
        start = ts - ts % self.size_ms
        return start, start + (self.size_ms - 1)

    def closes(self, side: Side, ts: Int64s) -> Int64s:
        return self.partners(side, ts)[1] + (1 + self.grace_ms)

    def forgotten(self, side: Side, ts: Int64s) -> Int64s:
        return self.closes(side, ts)


@dataclass(frozen=True, slots=True)
class AsOf:
    """A left row meets the latest right one that is not later, and at most `within_ms` earlier."""

    within_ms: int
    grace_ms: int

    @property
    def holds_ms(self) -> int:
        return self.grace_ms

    def partners(self, side: Side, ts: Int64s) -> tuple[Int64s, Int64s]:
        return (ts - self.within_ms, ts) if side == "left" else (ts, ts + self.within_ms)

    def closes(self, side: Side, ts: Int64s) -> Int64s:
        del side
        return ts + (self.grace_ms + 1)

    def forgotten(self, side: Side, ts: Int64s) -> Int64s:
        return self.closes(side, ts) + (self.within_ms if side == "right" else 0)


@dataclass(frozen=True, slots=True)
class AnyTime:
    """All times meet; a row is forgotten when event time has left it `retention_ms` behind (None: never)."""

    retention_ms: int | None

    @property
    def holds_ms(self) -> int:
        return 0  # nothing waits here, and what comes behind time is late to those behind this node as it is here

    def partners(self, side: Side, ts: Int64s) -> tuple[Int64s, Int64s]:
        del side
        return np.full_like(ts, _EVER), np.full_like(ts, NEVER)

    def closes(self, side: Side, ts: Int64s) -> Int64s:
        del side
        return np.full_like(ts, NEVER) if self.retention_ms is None else ts + (self.retention_ms + 1)

    def forgotten(self, side: Side, ts: Int64s) -> Int64s:
        return self.closes(side, ts)
