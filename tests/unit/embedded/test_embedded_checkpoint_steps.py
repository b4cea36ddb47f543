"""A process may die at any step of a checkpoint or a recovery: the log opens, whole, and goes on.

Method: count the operations on files that a step makes, then repeat it on copies and stop at each operation in turn,
half way through where it writes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs import EmbeddedLog
from streamflow.logs.embedded.checkpoint import Checkpointer
from streamflow.logs.embedded.core import Core
from streamflow.logs.embedded.layout import Layout
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import TopicSpec
from streamflow.testing.log_steps import batch, opened, put, values

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
EXPECTED = [f"{n}" for n in range(6)]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class StopAt:
    """Patches what changes files, and stops at operation number `last`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
        self.count, self._last = 0, last
        for name in ("pwritev", "copy_file_range", "ftruncate", "replace", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._last:
                if name == "pwritev":
                    whole = b"".join(args[1])
                    real(args[0], [whole[: len(whole) // 2]], args[2])
                raise Killed
            return real(*args, **options)

        return call


async def make(folder: Path) -> None:
    """Four commits in segments, two in the journal, a deleted topic, a partition whose first segments may go."""
    log = EmbeddedLog(folder)
    async with opened(log):
        await log.create_topic(TopicSpec(name="t", partitions=2, config={"segment.bytes": "1"}))
        await log.create_topic(TopicSpec(name="gone"))
        producer = await log.producer("p")
        for n in range(6):
            await put(producer, A, batch(f"{n}"))
            await put(producer, B, batch(f"{n}"))
            if n == 0:
                await put(producer, TopicPartition("gone", 0), batch("x"))
            if n in (1, 3):
                await log.checkpoint()
        await log.delete_records(B, 2)
        await log.set_offsets("g", {A: Committed(3, "note")})


async def look(folder: Path, *, after: int) -> None:
    log = EmbeddedLog(folder)
    async with opened(log):
        more = [f"more{n}" for n in range(after)]
        assert await values(log, A) == EXPECTED + more
        assert await values(log, B) == EXPECTED[2:] + more
        assert await log.offsets(B) == (2, 6 + after)
        assert await log.committed("g", [A]) == {A: Committed(3, "note")}


async def go_on(folder: Path, n: int) -> None:
    log = EmbeddedLog(folder)
    async with opened(log):
        producer = await log.producer("p")
        await put(producer, A, batch(f"more{n}"))
        await put(producer, B, batch(f"more{n}"))
        await log.checkpoint()


def checkpoint(folder: Path) -> None:
    core = Core(Layout(folder), durable=False, lock_timeout_ms=1_000)
    try:
        with core.locked():
            Checkpointer(core).run(0)
    finally:
        core.close()


def operations_of_a_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch, last: int) -> int:
    """Make a checkpoint that stops at operation `last`; how many there were."""
    stop = StopAt(monkeypatch, last)
    try:
        checkpoint(folder)
    except Killed:
        pass
    finally:
        monkeypatch.undo()
    return stop.count


def test_every_operation_of_a_checkpoint_may_be_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tmp_path / "original"
    asyncio.run(make(original))
    shutil.copytree(original, tmp_path / "whole")
    count = operations_of_a_checkpoint(tmp_path / "whole", monkeypatch, 10_000)
    assert count > 15
    for last in range(1, count + 1):
        folder = tmp_path / f"stopped-{last}"
        shutil.copytree(original, folder)
        assert operations_of_a_checkpoint(folder, monkeypatch, last) == last
        for n in range(3):
            asyncio.run(look(folder, after=n))
            asyncio.run(go_on(folder, n))
        asyncio.run(look(folder, after=3))
        assert len(list((folder / "journal").glob("*.journal"))) <= 2
        shutil.rmtree(folder)


def test_every_operation_of_making_a_log_may_be_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = 0
    while True:
        last += 1
        folder = tmp_path / f"{last}"
        stop = StopAt(monkeypatch, last)
        try:
            Core(Layout(folder), durable=False, lock_timeout_ms=1_000).close()
        except Killed:
            pass
        finally:
            monkeypatch.undo()
        asyncio.run(make(folder))
        asyncio.run(look(folder, after=0))
        if stop.count < last:
            break
    assert last > 4
