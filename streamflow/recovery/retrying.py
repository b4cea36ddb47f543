"""What `executions retry` gives again: the trigger items of executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamflow.runtime.again_records import Again

if TYPE_CHECKING:
    from streamflow.recovery.recover import Recover


async def retries(work: Recover, ids: Sequence[str] | None, *, again: bool = False) -> list[tuple[int, Again]]:
    """Retries of executions; None: of all that have dead letters. `again`: also of those that were retried before."""
    before = work.retried
    if ids is None:
        found = [letter.execution async for letter in work.letters() if letter.execution is not None]
        ids = [e for e in dict.fromkeys(found) if again or e not in before]
    wanted = []
    for execution in dict.fromkeys(ids):
        if execution in before and not again:
            why = f"it was retried before, as {before[execution]}."
            work.refuse(execution, why, "Retry that one, or give --again.")
            continue
        if (found_record := await work.trigger_record(execution)) is not None:
            partition, record = found_record
            if (task := work.task_of(execution, partition)) is not None:
                wanted.append((task, record))
    return wanted
