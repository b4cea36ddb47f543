"""Ticks are written once each, whoever leads, and none is left out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from streamflow.codecs.recordbatch import records
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import Fenced
from streamflow.workers.ticks import Ticks

AT = TopicPartition("w.beat.ticks", 0)


async def written(log: EmbeddedLog) -> list[tuple[int, int]]:
    """(number, timestamp in ms) of every tick on the log."""
    found, position = [], 0
    while batches := await log.read(AT, position, size_bytes_max=1 << 20):
        for batch in batches:
            found += [(json.loads(r.value or b"")["number"], r.timestamp_ms) for r in records(batch)]
        position = batches[-1].last_offset + 1
    return found


def ticks(log: EmbeddedLog) -> Ticks:
    return Ticks(log, workflow="w", name="beat", interval_ms=1_000)


def test_each_tick_that_is_due_is_written_once_with_its_own_time(tmp_path: Path) -> None:
    async def run() -> None:
        log = EmbeddedLog(tmp_path / "log")
        await log.open()
        timer = ticks(log)
        assert await timer.fire(10_250) == 1
        assert await timer.fire(10_900) == 0
        assert await timer.fire(13_000) == 3
        await timer.resign()
        assert await written(log) == [(n, n * 1_000) for n in range(10, 14)]
        await log.close()

    asyncio.run(run())


def test_a_new_leader_goes_on_and_the_old_one_is_fenced(tmp_path: Path) -> None:
    """Method: two leaders at once, as after an election that one of them has not heard of."""

    async def run() -> None:
        log = EmbeddedLog(tmp_path / "log")
        await log.open()
        old, new = ticks(log), ticks(log)
        await old.fire(10_000)
        await new.fire(11_500)
        with pytest.raises(Fenced):
            await old.fire(12_500)
        assert await new.fire(12_600) == 1
        assert await old.fire(13_100) == 1  # elected again
        with pytest.raises(Fenced):
            await new.fire(14_000)
        assert await new.fire(14_000) == 1
        await old.resign()
        await new.resign()
        assert [n for n, _ in await written(log)] == [10, 11, 12, 13, 14]
        await log.close()

    asyncio.run(run())
