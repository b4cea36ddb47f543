"""At least once: outputs of a task that are seen as soon as their step is done, before the commit."""

from __future__ import annotations

import asyncio

from streamflow.runtime.emit import Writes
from streamflow.sdk.crash import crash_point
from streamflow.sdk.log import Appender, Log
from streamflow.topology.plan import Topology


class AtOnce:
    """What a task writes without transactions: to topics that its workflow does not read itself.

    Outputs go in the order of steps, those of one step while the next one is computed. Where something fails, the task
    goes back to its last commit and gives what is behind it again.
    """

    def __init__(self, topology: Topology, log: Log, name: str) -> None:
        early = topology.run.guarantee == "at_least_once"
        self._topics = frozenset(t.name for t in topology.topics if t.kind == "sink") if early else frozenset[str]()
        self._log, self._name = log, name
        self._appender: Appender | None = None
        self._waiting: Writes = {}
        self._under_way: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Before anything is given, and again after an error."""
        await self.close()
        if self._topics:
            self._appender = await self._log.appender(f"{self._name}.at-once")

    def take(self, writes: Writes) -> None:
        """Take out of a step's outputs those that need not wait for the commit."""
        for at in [at for at in writes if at.topic in self._topics]:
            self._waiting.setdefault(at, []).extend(writes.pop(at))

    async def give(self, *, wait: bool) -> None:
        """Send what was taken. `wait`: return when all of it is in the log. Raises what `Appender.append` raises."""
        if self._under_way is not None and (wait or self._waiting):
            await self._under_way
            self._under_way = None
        if self._waiting:
            writes, self._waiting = self._waiting, {}
            self._under_way = asyncio.create_task(self._append(writes))
            if wait:
                await self.give(wait=True)

    async def drop(self) -> None:
        """Forget what was not sent, and let what is under way come to its end, whatever that is."""
        self._waiting = {}
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await asyncio.gather(under_way, return_exceptions=True)

    async def close(self) -> None:
        await self.drop()
        if self._appender is not None:
            await self._appender.close()
            self._appender = None

    async def _append(self, writes: Writes) -> None:
        assert self._appender is not None, "open() comes first"
        await self._appender.append(writes)
        crash_point("after-append")
