"""Where the time of a task goes: seconds by node, and by what it does beside its nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

DECODE: Final = "(decode)"  # records to rows
ENCODE: Final = "(encode)"  # rows to records
COMMIT: Final = "(commit)"  # waiting included

_T = TypeVar("_T")


class Spent:
    """Seconds of wall time, added up: threads that share a core count the time of both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def on(self, what: str, work: Callable[[], _T]) -> _T:
        """What `work` gives; its time is that of `what`."""
        begun_s = time.perf_counter()
        try:
            return work()
        finally:
            self.add(what, time.perf_counter() - begun_s)

    def add(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds
