"""The embedded log when its processes are killed, beside each other, and when its files are damaged.

Method: writer processes acknowledge numbered transactions; after a SIGKILL the log must hold exactly the acknowledged
ones, and at most the one that was under way, whole. Damage: cut or flip a journal at random places, open it, and accept
only a prefix of what was committed, or a refusal.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamflow.codecs.records import Record, from_records
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogCorrupt
from streamflow.sdk.log import TopicSpec
from streamflow.testing.log_steps import all_records, opened, values

WRITER = Path(__file__).with_name("embedded_log_writer.py")
ROOT = Path(__file__).parents[2]
A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def start(folder: Path, name: str, *args: object, crash_at: str = "") -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "STREAMFLOW_CRASH_AT": crash_at}
    command = [sys.executable, str(WRITER), str(folder), name, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def acknowledged(writer: subprocess.Popen[str], *, kill_after: int | None = None) -> int:
    """Numbers the writer acknowledged (the last plus one); killed once it has acknowledged `kill_after` of them."""
    assert writer.stdout is not None
    seen, last = 0, 0
    for line in writer.stdout:
        if line != "ready\n":
            seen, last = seen + 1, int(line) + 1
        if kill_after is not None and seen >= kill_after:
            writer.send_signal(signal.SIGKILL)
            kill_after = None
    writer.stdout.close()
    writer.wait(60)
    return last


async def new_log(folder: Path, **options: int) -> None:
    log = EmbeddedLog(folder, **options)  # type: ignore[arg-type]
    async with opened(log):
        await log.create_topic(TopicSpec(name="t", partitions=2))


async def contents(folder: Path) -> tuple[list[str], list[str], int]:
    log = EmbeddedLog(folder)
    async with opened(log):
        committed = (await log.committed("w", [A])).get(A, Committed(0))
        return await values(log, A), await values(log, B), committed.offset


def expect_whole(folder: Path, acknowledged_end: int) -> int:
    first, second, position = asyncio.run(contents(folder))
    assert first == second == [f"w:{i}" for i in range(position)]
    assert position in (acknowledged_end, acknowledged_end + 1)
    return position


@pytest.mark.parametrize("durability", ["os", "fsync"])
@pytest.mark.parametrize(
    ("crash_at", "kept"),
    [("before-frame:6", 4), ("torn-frame:6", 4), ("after-frame:6", 5)],  # the first frame makes the producer
)
def test_a_kill_at_a_named_point_leaves_whole_transactions(
    tmp_path: Path, crash_at: str, kept: int, durability: str
) -> None:
    asyncio.run(new_log(tmp_path))
    writer = start(tmp_path, "w", 0, 20, 1 << 20, durability, crash_at=crash_at)
    assert acknowledged(writer) == 4
    assert writer.returncode == -signal.SIGKILL
    assert expect_whole(tmp_path, 4) == kept
    assert acknowledged(start(tmp_path, "w", kept, 5)) == kept + 5
    assert expect_whole(tmp_path, kept + 5) == kept + 5


@pytest.mark.parametrize("journal_bytes_max", [1, 2_000, 64 << 20])
def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path, journal_bytes_max: int) -> None:
    asyncio.run(new_log(tmp_path))
    draw = random.Random(journal_bytes_max)
    position = 0
    for _ in range(4):
        writer = start(tmp_path, "w", position, 10_000, journal_bytes_max)
        end = acknowledged(writer, kill_after=draw.randint(1, 120))
        position = expect_whole(tmp_path, end)
    assert position > 4


@pytest.mark.parametrize(
    ("crash_at", "kept"), [("torn-frame:4", ["w:0", "w:1"]), ("after-frame:4", ["w:0", "w:1", "w:2"])]
)
def test_another_process_mends_what_a_killed_one_left(tmp_path: Path, crash_at: str, kept: list[str]) -> None:
    """The log is open here while a writer dies within a frame, or behind one that it had no time to publish."""

    async def scenario() -> None:
        log = EmbeddedLog(tmp_path)
        async with opened(log):
            await log.create_topic(TopicSpec(name="t", partitions=2))
            writer = start(tmp_path, "w", 0, 20, crash_at=crash_at)
            await asyncio.to_thread(acknowledged, writer)
            assert await values(log, A) == ["w:0", "w:1"]  # nobody has looked at what it left
            producer = await log.producer("here")
            await producer.begin()
            await producer.append(A, [from_records([Record(0, 0, None, b"here", [])])])
            await producer.commit()
            assert await values(log, A) == [*kept, "here"]
        assert (await contents(tmp_path))[0] == [*kept, "here"]

    asyncio.run(scenario())


@pytest.mark.parametrize("journal_bytes_max", [500, 64 << 20])
def test_three_writers_and_a_reader_side_by_side(tmp_path: Path, journal_bytes_max: int) -> None:
    """Every record once, offsets dense, each writer's order kept, and both partitions agree at the end."""
    count = 40

    async def scenario() -> None:
        log = EmbeddedLog(tmp_path)
        async with opened(log):
            await log.create_topic(TopicSpec(name="t", partitions=2))
            writers = [start(tmp_path, name, 0, count, journal_bytes_max) for name in "xyz"]
            done = [asyncio.create_task(asyncio.to_thread(acknowledged, w)) for w in writers]
            seen: list[Record] = []
            while len(seen) < 3 * count:
                await log.wait({A: len(seen)}, timeout_ms=30_000)
                new = await all_records(log, A, len(seen))
                assert new, "the writers are done or dead, and records are missing"
                seen += new
            assert await asyncio.gather(*done) == [count] * 3
            assert [r.offset for r in seen] == list(range(3 * count))
            for name in "xyz":
                own = [v for r in seen if (v := (r.value or b"").decode()).startswith(name)]
                assert own == [f"{name}:{i}" for i in range(count)]
                assert await log.committed(name, [A]) == {A: Committed(count)}
            assert await all_records(log, A) == await all_records(log, B) == seen

    asyncio.run(scenario())


def write_history(folder: Path) -> list[tuple[list[str], list[str], int]]:
    """A log whose journal holds 12 transactions, and what it held after each."""
    history: list[tuple[list[str], list[str], int]] = []

    async def scenario() -> None:
        log = EmbeddedLog(folder)
        async with opened(log):
            await log.create_topic(TopicSpec(name="t", partitions=2))
            producer = await log.producer("w")
            for i in range(12):
                if i == 4:
                    await log.checkpoint()
                history.append((await values(log, A), await values(log, B), i))
                await producer.begin()
                for at in (A, B):
                    record = Record(0, i, b"key", f"w:{i}".encode() * (1 + 40 * (i % 3)), [])
                    await producer.append(at, [from_records([record])])
                await producer.send_offsets("w", {A: Committed(i + 1)})
                await producer.commit()
            history.append((await values(log, A), await values(log, B), 12))

    asyncio.run(scenario())
    return history


def damaged_copy(original: Path, folder: Path, part: str, draw: random.Random, *, cut: bool) -> None:
    """A copy of the log in which one file of `part` is cut short or has one bit flipped."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    newest = max(folder.glob("journal/*"))
    file = newest if part == "journal" else draw.choice(sorted(folder.glob(part)))
    data = bytearray(file.read_bytes())
    place = draw.randrange(len(data))
    if cut:
        del data[place:]
    else:
        data[place] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


async def outcome(folder: Path) -> tuple[list[str], list[str], int] | str:
    try:
        return await contents(folder)
    except LogCorrupt as refused:
        return "refused" if str(folder) in str(refused) and refused.mend else f"unhelpful: {refused}"


@pytest.mark.parametrize("head_survives", [True, False])
def test_a_damaged_journal_gives_a_prefix_or_is_refused(tmp_path: Path, head_survives: bool) -> None:
    """1,000 places. With the head (no restart since) nothing committed may be missing; without it, only the end may."""
    history = write_history(tmp_path / "original")
    draw = random.Random(1)

    async def scenario() -> list[object]:
        found: list[object] = []
        for n in range(500):
            folder = tmp_path / "damaged"
            damaged_copy(tmp_path / "original", folder, "journal", draw, cut=n % 2 == 0)
            if not head_survives:
                (folder / "head").unlink()
            result = await outcome(folder)
            found.append(result)
            if head_survives:
                assert result in (history[-1], "refused")
            else:
                assert result == "refused" or result in history[4:]
        return found

    found = asyncio.run(scenario())
    if head_survives:
        assert found.count("refused") > 450  # a flip that does not matter is rare, for all is covered by CRCs
    else:
        assert 100 < found.count("refused") < 400
        assert all(state in found for state in history[4:-1])


@pytest.mark.parametrize("part", ["topics/*/*/*/*.log", "topics/*/*/*/*.index", "head", "snapshot"])
def test_damage_elsewhere_is_mended_or_refused(tmp_path: Path, part: str) -> None:
    history = write_history(tmp_path / "original")
    draw = random.Random(2)

    async def scenario() -> list[object]:
        found = []
        for n in range(60):
            damaged_copy(tmp_path / "original", tmp_path / "damaged", part, draw, cut=n % 2 == 0)
            found.append(await outcome(tmp_path / "damaged"))
        return found

    found = asyncio.run(scenario())
    allowed = {"snapshot": ["refused"]}.get(part, [history[-1]])
    assert all(result in allowed for result in found)


def test_a_damaged_segment_whose_journal_is_gone_is_refused(tmp_path: Path) -> None:
    write_history(tmp_path / "original")
    (tmp_path / "original" / "journal" / f"{1:020d}.journal").unlink()
    draw = random.Random(3)

    async def scenario() -> None:
        for _ in range(30):
            damaged_copy(tmp_path / "original", tmp_path / "damaged", "topics/*/*/*/*.log", draw, cut=False)
            assert await outcome(tmp_path / "damaged") == "refused"

    asyncio.run(scenario())
