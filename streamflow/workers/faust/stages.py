"""One supervised agent a stage, fed through a channel: an event is one turn of a task, with the whole batch it read.

A task has at most one event in the channel, so its batches stay in order, and as many are computed at once as the agent
has actors. An actor that is taken away with an event (Faust does that when it restarts agents) takes nothing with it:
the turn is then made without it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import faust

from streamflow.runtime.source_task import SourceTask
from streamflow.topology.plan import Topology
from streamflow.workers.driver import AnyTask

_PICKED_S_MAX = 10.0


class Event:
    """One turn of a task, to be made once."""

    def __init__(self, work: Callable[[], Awaitable[bool]]) -> None:
        self._work = work
        self._job: asyncio.Future[bool] | None = None
        self._picked = asyncio.Event()

    def begin(self) -> asyncio.Future[bool]:
        """Make the turn, if nobody has begun it; the future of its outcome."""
        if self._job is None:
            self._job = asyncio.ensure_future(self._work())
            self._picked.set()
        return self._job

    async def outcome(self) -> bool:
        """What came of it. Cancelled, it cancels the turn."""
        try:
            async with asyncio.timeout(_PICKED_S_MAX):
                await self._picked.wait()
        except TimeoutError:
            pass  # no actor came for it
        return await self.begin()


class StageAgents:
    """The agents of a topology's stages, each with its channel."""

    def __init__(self, app: faust.App, topology: Topology, *, concurrency: int | None = None) -> None:
        actors = concurrency or max(2, os.cpu_count() or 2)
        self._channels: dict[str, Any] = {}
        for stage in topology.stages:
            channel = app.channel(maxsize=actors)
            self._channels[stage.id] = channel
            app.agent(channel, name=f"{topology.workflow}.{stage.id}", concurrency=actors)(_act)

    async def turn(self, task: AnyTask) -> bool:
        """Like `Task.advance`, with the work done by the stage's agent."""
        if isinstance(task, SourceTask):
            event = Event(task.advance)
        else:
            fetched = await task.fetch()
            if fetched is None:
                return await task.take(None)  # nothing to compute: commit if it is time
            event = Event(lambda: task.take(fetched))
        await self._channels[task.stage.id].send(value=event)
        return await event.outcome()


async def _act(stream: Any) -> None:
    async for event in stream:
        # How it went is told to whoever waits for the outcome; the agent goes on with the next.
        await asyncio.wait([event.begin()])
