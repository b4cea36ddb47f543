"""Standbys: state of tasks that run elsewhere, kept up to date here, so that a take-over reads only the rest.

A standby reads what its task committed to its changelogs, and nothing else: it takes part in no transaction, writes to
no topic, and what a task has not committed it never sees. One of them works at a time, on one read, and then rests for
as long as that took: the tasks of this process come first.

waiting ──opened──▶ following ──released──▶ gone (its task runs here now, on the same stores)
   ▲                    │ an error of the log or of the disk: from where it stands, or anew
   └────────────────────┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.checkpoint import why_useless
from streamflow.sdk.errors import StreamflowError
from streamflow.sdk.events import Logger
from streamflow.sdk.log import Log, TopicInfo
from streamflow.state.restore import take_in
from streamflow.state.task_state import StoreName, TaskState
from streamflow.workers.tasks import TaskId

READ_BYTES_MAX = 1 << 20  # of one turn
_REST_S_MIN = 0.02
_WAIT_MS = 1_000  # at the end of a changelog
_TELL_S = 2.0
_RETRY_S, _RETRY_S_MAX = 1.0, 30.0
_log = Logger(__name__)


@dataclass(slots=True)
class Standby:
    """One task's state. `number`: which of the task's standbys it is; `group` keeps how far it is, for people."""

    task: TaskId
    number: int
    group: str
    state: TaskState
    changelogs: Mapping[StoreName, TopicPartition]
    positions: dict[StoreName, int] = field(default_factory=dict)
    behind: int | None = None  # offsets of changelogs that are not read yet; None: not known yet
    read: int = 0  # offsets of changelogs read since it was made
    told_s: float = 0.0
    job: asyncio.Task[None] | None = None


class Standbys:
    """The standbys of a process. Use it on one event loop."""

    def __init__(self, log: Log, topics: Mapping[str, TopicInfo], make: Callable[[TaskId, int], Standby]) -> None:
        """`make`: a standby of a task that has stores, by its number."""
        self._log, self._topics, self._make = log, topics, make
        self._here: dict[TaskId, Standby] = {}
        self._turns = asyncio.Semaphore(1)
        self._closed = False

    @property
    def behind(self) -> Mapping[TaskId, int]:
        """How many offsets each has yet to read; those that do not know it are left out."""
        return {task: standby.behind for task, standby in self._here.items() if standby.behind is not None}

    @property
    def count(self) -> int:
        return len(self._here)

    async def keep(self, wanted: Mapping[TaskId, int]) -> None:
        """Have exactly these; none any more once it was closed. `wanted`: number of each."""
        if self._closed:
            return
        for task in [task for task in self._here if task not in wanted]:
            await self.release(task)
        for task, number in sorted(wanted.items()):
            if task in self._here and self._here[task].number != number:
                self._here[task].group = self._make(task, number).group
                self._here[task].number, self._here[task].told_s = number, 0.0
            elif task not in self._here:
                standby = self._here[task] = self._make(task, number)
                standby.job = asyncio.get_running_loop().create_task(self._keep(standby), name=f"standby {task}")

    async def release(self, task: TaskId) -> TaskState | None:
        """The state of a standby that ends, closed; None where there is none."""
        standby = self._here.pop(task, None)
        if standby is None:
            return None
        if standby.job is not None:
            standby.job.cancel()
            await asyncio.wait([standby.job])
        await asyncio.to_thread(standby.state.close)
        _log.info("standby_ends", task=str(task), read=standby.read, behind=standby.behind)
        return standby.state

    async def close(self) -> None:
        """End all."""
        self._closed = True
        for task in list(self._here):
            await self.release(task)

    async def _keep(self, standby: Standby) -> None:
        """Follow the changelogs, for ever; what goes wrong is tried again, later and later."""
        wait_s = _RETRY_S
        while True:
            begun_s = time.monotonic()
            try:
                await self._follow(standby)
            except StreamflowError as error:
                standby.behind = None
                _log.warning("standby_waits", task=str(standby.task), code=error.code, error=str(error))
            wait_s = _RETRY_S if time.monotonic() - begun_s > _RETRY_S_MAX else min(wait_s * 2, _RETRY_S_MAX)
            await asyncio.sleep(wait_s)

    async def _follow(self, standby: Standby) -> None:
        state = standby.state
        try:
            await _in_thread(lambda: _opened(state))
            now_ms = time.time_ns() // 1_000_000
            if why := await why_useless(state, self._log, standby.changelogs, self._topics, now_ms):
                await _in_thread(lambda: state.discard(why))
            for name, at in standby.changelogs.items():
                start, _ = await self._log.offsets(at)
                standby.positions[name] = max(state.stores[name].changelog_offset, start)
            # From the beginning of a changelog on, it will miss no deletion that is there now.
            new = [name for name in standby.changelogs if not state.stores[name].changelog_offset]
            await _in_thread(lambda: _begun(state, new, now_ms))
            while True:
                begun_s, moved = time.monotonic(), False
                for name in standby.changelogs:
                    async with self._turns:
                        moved = await self._turn(standby, name) or moved
                if time.monotonic() - standby.told_s >= _TELL_S or (not moved and standby.behind != 0):
                    await self._tell(standby)
                if moved:
                    await asyncio.sleep(max(_REST_S_MIN, time.monotonic() - begun_s))
                else:
                    waiting = {at: standby.positions[name] for name, at in standby.changelogs.items()}
                    await self._log.wait(waiting, timeout_ms=_WAIT_MS)
        finally:
            await _in_thread(state.close)

    async def _turn(self, standby: Standby, name: StoreName) -> bool:
        """One read of one changelog. False: it is at its end, as it is now."""
        at, store, position = standby.changelogs[name], standby.state.stores[name], standby.positions[name]
        batches = await self._log.read(at, position, size_bytes_max=READ_BYTES_MAX)
        if not batches:
            now_ms = time.time_ns() // 1_000_000
            await _in_thread(lambda: standby.state.caught_up(name, now_ms))
            return False
        end = batches[-1].last_offset + 1
        await _in_thread(lambda: take_in(store, batches, position, end))
        standby.positions[name] = end
        standby.read += end - position
        return True

    async def _tell(self, standby: Standby) -> None:
        """How far it is: for the group that deals tasks out, and on the log for whoever asks."""
        ends = [(await self._log.offsets(at))[1] for at in standby.changelogs.values()]
        reached = [standby.positions[name] for name in standby.changelogs]
        standby.behind = sum(max(0, end - position) for end, position in zip(ends, reached, strict=True))
        offsets = {at: Committed(standby.positions[name], "") for name, at in standby.changelogs.items()}
        await self._log.set_offsets(standby.group, offsets)
        standby.told_s = time.monotonic()


def _opened(state: TaskState) -> None:
    state.close()
    state.open()
    state.mend()
    for store in state.stores.values():
        store.abort()


def _begun(state: TaskState, names: Sequence[StoreName], now_ms: int) -> None:
    for name in names:
        state.caught_up(name, now_ms)


async def _in_thread(work: Callable[[], object]) -> None:
    """In a thread; whoever is cancelled meanwhile still waits for its end, so that nothing goes on behind the back."""
    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        raise
