"""Timers on Faust's leader whose ticks are on the log once each, even while leaders are killed."""

from __future__ import annotations

import time
from typing import Any

import faust

from streamflow.logs import open_log
from streamflow.sdk.errors import Fenced, LogUnavailable
from streamflow.sdk.log import Log
from streamflow.workers.ticks import Ticks

_LOOKS_PER_TICK = 4


def every(app: faust.App, interval_s: float, *, name: str, log: str, topic: str = "") -> Ticks:
    """Write a record to `topic` (default `<app id>.<name>.ticks`) every `interval_s`, once in the whole cluster.

    Faust elects who does it; that alone would fire twice, or not at all, around a change of leaders. Records are JSON,
    `{"timer", "number", "at"}`, with the scheduled time as their timestamp: a workflow reads them with an `event` node.
    """
    opened = open_log(log)
    ticks = Ticks(opened, workflow=app.conf.id, name=name, interval_ms=round(interval_s * 1000), topic=topic)
    state = {"open": False}

    @app.timer(interval_s / _LOOKS_PER_TICK, name=name, on_leader=True)  # type: ignore[untyped-decorator]
    async def look() -> None:
        await _open(opened, state)
        try:
            await ticks.fire(time.time_ns() // 1_000_000)
        except (Fenced, LogUnavailable):
            return  # another leader is at work, or the brokers do not answer: the next look tells

    @app.on_before_shutdown.connect
    async def close(*_: Any, **__: Any) -> None:
        await ticks.resign()
        if state["open"]:
            await opened.close()

    return ticks


async def _open(log: Log, state: dict[str, bool]) -> None:
    if not state["open"]:
        await log.open()
        state["open"] = True
