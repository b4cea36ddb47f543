"""Who uses a folder of state: any number of workers, or one that keeps standbys in it.

A standby has its task's database open, as the task's own worker has. Were both on one folder, whoever came first would
keep the other out; and a standby beside its task on one disk is of no use.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from streamflow.sdk.errors import StateBusy, StateError
from streamflow.state.task_state import folder_of

_NAME = "workers.lock"


class StateLock:
    """Held from `acquire` until `release`, or until this process ends."""

    def __init__(self, root: str, workflow: str, *, alone: bool) -> None:
        self._folder, self._alone = folder_of(Path(root), workflow), alone
        self._held: int | None = None

    def acquire(self) -> None:
        """Raises StateBusy where another worker keeps this one out, StateError where there can be no folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            held = os.open(self._folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise StateError(
                f"state cannot be kept in {self._folder}: {error.strerror}.", mend="Set --state-dir."
            ) from error
        try:
            fcntl.flock(held, (fcntl.LOCK_EX if self._alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise StateBusy(
                f"state in {self._folder} is used by another worker, and one with standbys needs a folder of its own.",
                mend="Give each worker a --state-dir of its own, or set standbys to 0 for all of them.",
            ) from None
        self._held = held

    def release(self) -> None:
        """Harmless when it is not held."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
