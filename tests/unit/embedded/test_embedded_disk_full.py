"""No space: a clear error, nothing committed is lost, and the log goes on when there is space again."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamflow.logs import EmbeddedLog
from streamflow.logs.embedded import core as core_module
from streamflow.logs.embedded import files
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogError, LogFull
from streamflow.testing.log_steps import batch, new_topic, opened, put, run, values


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond `size_bytes`: writes end short, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_log_full_and_costs_nothing_that_was_committed(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, compression="none")
        written = 0
        async with opened(log):
            at = await new_topic(log)
            producer = await log.producer("p")

            async def fill() -> None:
                nonlocal written
                while True:
                    await put(producer, at, batch(str(written), "x" * 500))
                    written += 1

            with files_up_to(20_000), pytest.raises(LogFull, match="no space") as full:
                await fill()
            assert "Free space" in full.value.mend
            assert written > 10
            expected = [v for n in range(written) for v in (str(n), "x" * 500)]
            assert await values(log, at) == expected
            await producer.abort()
            await put(producer, at, batch("space again"))
            assert await values(log, at) == [*expected, "space again"]
        again = EmbeddedLog(tmp_path)
        async with opened(again):
            assert await values(again, at) == [*expected, "space again"]

    asyncio.run(scenario())


def test_a_commit_that_failed_for_space_can_be_tried_again(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        await producer.begin()
        await producer.append(at, [batch("x" * 5_000)])
        with files_up_to(3_000), pytest.raises(LogFull):
            await producer.commit()
        assert await log.offsets(at) == (0, 0)
        assert await producer.commit() == {at: 1}

    run(lambda: EmbeddedLog(tmp_path, compression="none"), scenario)  # type: ignore[arg-type]


def test_a_checkpoint_without_space_leaves_the_commit_valid_and_is_made_later(tmp_path: Path) -> None:
    """Segments cannot grow beyond the limit; the journal, begun anew at each checkpoint, can."""

    async def scenario() -> None:
        log = EmbeddedLog(tmp_path, compression="none", journal_bytes_max=2_000)
        async with opened(log):
            at = await new_topic(log)
            producer = await log.producer("p")
            with files_up_to(9_000):
                for n in range(8):
                    await put(producer, at, batch(f"{n}" * 1_000))
                with pytest.raises(LogFull):
                    await log.checkpoint()
                expected = [f"{n}" * 1_000 for n in range(8)]
                assert await values(log, at) == expected
            await log.checkpoint()
            assert await values(log, at) == expected
        again = EmbeddedLog(tmp_path)
        async with opened(again):
            assert await values(again, at) == expected

    asyncio.run(scenario())
    assert sum(p.stat().st_size for p in tmp_path.glob("topics/*/*/0/*.log")) > 8_000


def test_a_new_log_on_a_full_disk_is_refused_and_works_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = EmbeddedLog(tmp_path / "log")
        with files_up_to(10), pytest.raises(LogFull):
            await log.open()
        async with opened(log):
            at = await new_topic(log)
            await put(await log.producer("p"), at, batch("a"))
            assert await values(log, at) == ["a"]

    asyncio.run(scenario())


@pytest.mark.parametrize("short_by", [0, 1, 40])
def test_enospc_in_the_middle_of_a_frame_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_by: int
) -> None:
    real: Callable[[int, Sequence[memoryview], int], int] = os.pwritev

    async def scenario(log: EmbeddedLog) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        await put(producer, at, batch("a"))
        calls = 0
        journal = log._need().core.journal
        size_bytes = journal.size_bytes()

        def short_then_full(fd: int, buffers: Sequence[memoryview], position: int) -> int:
            nonlocal calls
            calls += 1
            if calls > 1 or short_by == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, [b"".join(buffers)[:-short_by]], position)  # type: ignore[list-item]

        monkeypatch.setattr(files.os, "pwritev", short_then_full)
        with pytest.raises(LogFull):
            await put(producer, at, batch("b"))
        monkeypatch.undo()
        assert journal.size_bytes() == size_bytes  # the space is given back at once
        assert await values(log, at) == ["a"]
        await producer.abort()
        await put(producer, at, batch("c"))
        assert await values(log, at) == ["a", "c"]

    run(lambda: EmbeddedLog(tmp_path), scenario)  # type: ignore[arg-type]


def test_a_sync_that_fails_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        at = await new_topic(log)
        producer = await log.producer("p")
        await put(producer, at, batch("a"))

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(core_module.os, "fdatasync", broken)
        with pytest.raises(LogError, match="synced"):
            await put(producer, at, batch("b"))
        monkeypatch.undo()
        await producer.abort()
        await put(producer, at, batch("c"))
        assert await values(log, at) == ["a", "c"]

    run(lambda: EmbeddedLog(tmp_path, durability="fsync"), scenario)  # type: ignore[arg-type]


def test_commits_that_come_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    async def scenario(log: EmbeddedLog) -> None:
        nonlocal syncs
        at = await new_topic(log)
        producers = [await log.producer(f"p{n}") for n in range(20)]
        monkeypatch.setattr(core_module.os, "fdatasync", counted)
        syncs = 0
        for producer in producers:
            await producer.begin()
            await producer.append(at, [batch("x")])
        core = log._need().core
        with core.locked():  # hold the log until all have handed in
            commits = [asyncio.create_task(p.commit()) for p in producers]
            await asyncio.sleep(0)
        ends = await asyncio.gather(*commits)
        assert sorted(e[TopicPartition(*at)] for e in ends) == list(range(1, 21))
        assert syncs <= 2  # the first may have started alone

    run(lambda: EmbeddedLog(tmp_path, durability="fsync"), scenario)  # type: ignore[arg-type]
