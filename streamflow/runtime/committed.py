"""What a task remembers from commit to commit besides offsets and stores, and where it finds it again.

It may be long (what each of many upstream tasks last said, executions whose end some of them announced), and brokers
bound the metadata of an offset (offset.metadata.max.bytes, 4096). So it stands in the journal record of the commit, and
the metadata of the offsets only names that record by its number. Positions that were reset name none: then it is
forgotten, as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamflow.codecs.recordbatch import records
from streamflow.codecs.records import Record
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import Log

_READ_BYTES = 4 << 20
_RESTS = "."


@dataclass(slots=True)
class InputState:
    """Executions that are open on one input partition."""

    execution: str = ""  # the bounded execution that rows belong to
    ends: dict[str, list[int]] = field(default_factory=dict)  # execution -> upstream tasks that announced its end


def link(number: int, *, rests: bool = False) -> str:
    """Metadata of an offset that was committed with journal record `number`; 0 is a commit without anything to keep.

    `rests`: the task has ended in order, or has not begun: nothing behind its positions was tried.
    """
    return (str(number) if number else "") + (_RESTS if rests else "")


def rests(committed: Iterable[Committed]) -> bool:
    """Whether committed offsets say that nothing behind them was tried. None are committed before a first step."""
    return all(known.metadata.endswith(_RESTS) for known in committed)


def linked(at: TopicPartition, committed: Committed | None) -> int:
    """The number that a committed offset names. Raises StateError for metadata that is none of ours."""
    number = "" if committed is None else committed.metadata.removesuffix(_RESTS)
    if committed is None or not number:
        return 0
    if not number.isdecimal():
        raise StateError(
            f"the committed position of {at} carries {committed.metadata[:80]!r}, which is not from this program.",
            mend="Another program or version committed it; start anew with `streamflow reset`.",
        )
    return int(number)


def agreed(numbers: Iterable[int]) -> int:
    """The number that a task's inputs name; 0 if none does. Those of one task are committed together."""
    found = {n for n in numbers if n}
    if len(found) > 1:
        raise StateError(
            f"the committed positions of one task name different commits: {sorted(found)}.",
            mend="Positions were set by hand; start anew with `streamflow reset`.",
        )
    return next(iter(found), 0)


async def last_record(log: Log, at: TopicPartition) -> Record | None:
    """The last record on a partition that one task writes; None if there is none.

    Call it after the producer of this task was initialised: then no transaction that writes to it is open.
    """
    start, end = await log.offsets(at)
    back = 4  # the last offsets may be those of transaction markers
    first = end
    while first > start:
        first = max(start, end - back)
        back *= 8
        found: Record | None = None
        position = first
        while position < end:
            batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
            if not batches:
                break
            for record in records(batches[-1]):
                found = record
            position = batches[-1].last_offset + 1
        if found is not None:
            return found
    return None
