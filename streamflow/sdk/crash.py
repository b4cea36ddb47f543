"""Named points of the commit path where a test can kill the process.

`STREAMFLOW_CRASH_AT=after-outputs:3` kills this process with SIGKILL the third time it passes that point. Unset, a
point costs one comparison. The names are those of docs/semantics: before-begin, after-outputs, after-changelog,
after-offsets, before-frame, after-frame, before-store, after-store. On Kafka before-end-txn and after-end-txn stand
where the embedded log has its frame. restored-part is passed while a store is restored, table-part while
a global table is read before a task begins. signals-committed stands between a signal that `serve` has written and its
answer. after-append: outputs of at_least_once are in the log, and nothing of their step is committed.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "before-begin",
    "after-outputs",
    "after-changelog",
    "after-offsets",
    "before-frame",
    "torn-frame",
    "after-frame",
    "before-store",
    "after-store",
)
RESTORE_POINTS = ("restored-part",)
TABLE_POINTS = ("table-part",)
APPEND_POINTS = ("after-append",)
SERVE_POINTS = ("signals-committed",)
KAFKA_POINTS = ("before-end-txn", "after-end-txn")
_at, _, _nth = os.environ.get("STREAMFLOW_CRASH_AT", "").partition(":")
_left = int(_nth or "1")


def crash_point(name: str) -> None:
    """Die here if the environment asks for it."""
    global _left  # noqa: PLW0603 - a countdown of this process, by design
    if _at and _at == name:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
