"""How an execution stands, and how that may change.

    pending ──▶ running ◀──▶ waiting
       │           │            │
       ├───────────┴────────────┤
       ▼                        ▼
    completed      failed, cancelled, timed_out
       │              │
       └──────────────┴─ woken ─▶ running, waiting, failed

pending    its trigger item is on its topic, and no task has committed it
running    rows of it are on their way to another stage, or its end has not come to all tasks
waiting    rows of it wait in a node, and nothing has failed
completed  nothing of it is left anywhere, and no failure was left to dead letters
failed     a row of it failed and nobody took it; so it stays, whatever becomes of its other rows
cancelled, timed_out   nothing of it is left anywhere, nothing failed for good, and rows of it ended because
           it was cancelled, or because its time was over

An execution that is `completed`, `cancelled` or `timed_out` is *woken* when a node that had taken a row of it into
state gives it back: an outer join a row without a match, a debounce the last row of a burst. Nothing else leads out of
a final status.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

ExecutionStatus = Literal["pending", "running", "waiting", "completed", "failed", "cancelled", "timed_out"]
NodeStatus = Literal["pending", "running", "completed", "failed", "skipped", "waiting", "cancelled", "timed_out"]

EXECUTION_STATUSES: Final[tuple[ExecutionStatus, ...]] = get_args(ExecutionStatus)
NODE_STATUSES: Final[tuple[NodeStatus, ...]] = get_args(NodeStatus)

_ENDS: Final[frozenset[ExecutionStatus]] = frozenset(("completed", "failed", "cancelled", "timed_out"))
_BOTH: Final[frozenset[ExecutionStatus]] = frozenset(("running", "waiting"))
LEGAL: Final[Mapping[ExecutionStatus, frozenset[ExecutionStatus]]] = MappingProxyType(
    {
        "pending": _ENDS.union(_BOTH),
        "running": _ENDS.union(_BOTH) - {"running"},
        "waiting": _ENDS.union(_BOTH) - {"waiting"},
        "completed": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
        "timed_out": frozenset(),
    }
)
WHEN_WOKEN: Final[Mapping[ExecutionStatus, frozenset[ExecutionStatus]]] = MappingProxyType(
    {
        "completed": frozenset(("running", "waiting", "failed", "cancelled", "timed_out")),
        "cancelled": frozenset(("running", "waiting", "failed")),
        "timed_out": frozenset(("running", "waiting", "failed", "cancelled")),
    }
)


def legal(before: ExecutionStatus, after: ExecutionStatus, *, woken: bool = False) -> bool:
    """Whether an execution that stood at `before` may stand at `after`; to stay is always legal."""
    return before == after or after in LEGAL[before] or (woken and after in WHEN_WOKEN.get(before, ()))
