"""What an operator of a running task may use besides its rows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamflow.runtime.event_time import IDLE, NO_WATERMARK
from streamflow.runtime.late_calls import CallLog
from streamflow.sdk.errors import StateError
from streamflow.sdk.state import StateStore


@dataclass(slots=True)
class StepClock:
    """Readings shared by all nodes of a task; set before each step and recorded in the journal."""

    now_ms: int = 0
    watermark_ms: int = -(2**63)
    sleep: Callable[[float], None] = time.sleep  # a replay does not
    calls: CallLog = field(default_factory=CallLog)

    def pause(self, seconds: float) -> None:
        """Wait in the middle of a step: for retries in place."""
        if seconds > 0:
            self.sleep(seconds)


def held_back(watermark_ms: int, by_ms: int) -> int:
    """A watermark as it is behind nodes that hold back their rows for `by_ms`; what is no time stays what it is."""
    if watermark_ms >= IDLE or not by_ms:
        return watermark_ms
    return max(watermark_ms - by_ms, NO_WATERMARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """`sdk.operator.Context` of one node in one task."""

    workflow: str
    stage: str
    node: str
    partition: int
    clock: StepClock
    stores: Mapping[str, StateStore] = field(default_factory=dict)
    behind_ms: int = 0  # how far this node's event time lies behind the task's: what nodes before it hold back

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms

    @property
    def watermark_ms(self) -> int:
        return held_back(self.clock.watermark_ms, self.behind_ms)

    def store(self, name: str) -> StateStore:
        try:
            return self.stores[name]
        except KeyError:
            raise StateError(f"node {self.node!r} has no store {name!r}; its spec must declare it.") from None

    def random(self, execution: str, path: bytes = b"") -> np.random.Generator:
        seed = hashlib.sha256(b"\0".join((self.workflow.encode(), self.node.encode(), execution.encode(), path)))
        return np.random.default_rng(int.from_bytes(seed.digest()[:16], "big"))
