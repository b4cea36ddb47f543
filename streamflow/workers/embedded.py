"""Runs a whole topology in this process: the lock on the workflow says that nobody else does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streamflow.logs.embedded import EmbeddedLog
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology
from streamflow.workers.fleet import Fleet
from streamflow.workers.worker import Worker

_MAINTENANCE_S = 60.0


class EmbeddedWorker(Worker):
    """A `Worker` that owns all tasks."""

    def __init__(self, topology: Topology, log: Log, **options: Any) -> None:
        """`options`: those of `Worker`."""
        super().__init__(topology, log, Everything(log), **options)


class Everything:
    """The `Owner` of all tasks there are."""

    alone = True

    def __init__(self, log: Log) -> None:
        self._log = log

    async def begin(self, fleet: Fleet) -> None:
        await fleet.own(fleet.everything)

    async def watch(self, fleet: Fleet) -> None:
        while True:
            await asyncio.sleep(_MAINTENANCE_S)
            if isinstance(self._log, EmbeddedLog):
                # No broker does it for us: retention, and compaction of changelogs.
                await self._log.run_maintenance(time.time_ns() // 1_000_000)

    async def idle(self, fleet: Fleet) -> bool:
        return True

    def lost(self) -> None:
        """Cannot be: being alone, losing a task is an error."""

    async def end(self) -> None:
        """Nothing is to be given back."""
