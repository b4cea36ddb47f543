"""State on disk when its process is killed: behind what was committed at most, never ahead, never wrong.

Method: SIGKILL at named points or at random moments; then what each database holds must be exactly what the changelog
says up to the offset that the database names. At the end the usual checks of `killing` hold.
"""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import pytest
from rocksdict import Rdict

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import POINTS, RESTORE_POINTS
from streamflow.state.changelog import decode_changes
from streamflow.state.rocks_folder import options
from tests.simulation.killing import Ground, check, make

STORES = ("counts", "rows")  # of the node `sevens`, as they lie in a database


def on_disk(ground: Ground, partition: int) -> list[tuple[int, dict[bytes, bytes]]]:
    """(changelog offset, entries) of a task's stores; a copy is opened, so that nothing is changed."""
    folder = ground.folder / "state" / "numbers" / "numbers" / str(partition)
    if not folder.exists():
        return [(0, {})] * len(STORES)
    copy = ground.folder / "copy"
    shutil.copytree(folder, copy)
    base = Rdict(str(copy), options())
    found = []
    for n in range(len(STORES)):
        at = base.get(bytes([2 * n]))
        entries = {key[1:]: value for key, value in base.items() if key[0] == 2 * n + 1}
        found.append((struct.unpack(">qq", at)[0] if at else 0, entries))
    base.close()
    shutil.rmtree(copy)
    return found


def compare(ground: Ground) -> list[int]:
    """How far each store is behind its changelog, in offsets; fails if it holds anything else."""

    async def read(log: EmbeddedLog) -> list[int]:
        behind = []
        for p in range(ground.partitions):
            for store, (position, entries) in zip(STORES, on_disk(ground, p), strict=True):
                at = TopicPartition(f"numbers.sevens.{store}.changelog", p)
                end = (await log.offsets(at))[1]
                assert position <= end, f"{at}: the store is at {position}, only {end} is committed"
                assert entries == await said_upto(log, at, position), f"{at}: not what it says up to {position}"
                behind.append(end - position)
        return behind

    return ground.on_log(read)


async def said_upto(log: EmbeddedLog, at: TopicPartition, end: int) -> dict[bytes, bytes]:
    """What the records of a changelog below `end` come to."""
    entries: dict[bytes, bytes] = {}
    for batch in await log.read(at, 0, size_bytes_max=1 << 30):
        for offset, (key, value) in enumerate(decode_changes(batch), batch.base_offset):
            if offset < end and value is not None:
                entries[key] = value
            elif offset < end:
                entries.pop(key, None)
    return entries


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make(tmp_path, 9_000, "--state", "rocksdb", "--state-dir", "state")


def test_kills_at_every_point_of_a_commit_leave_a_store_that_is_behind_at_most(ground: Ground) -> None:
    behind: dict[str, int] = {}
    for point in POINTS:
        nth = 5 if "frame" in point else 2  # frames make the producers, too
        assert ground.crash(f"{point}:{nth}"), f"{point} was not reached"
        behind[point] = sum(compare(ground))
    assert behind["after-frame"]  # a commit that is on the log and in no database
    assert behind["before-store"]
    ground.finish()
    check(ground)
    assert compare(ground) == [0, 0, 0, 0]


def test_kills_at_random_moments(ground: Ground) -> None:
    draw = random.Random(5)
    for _ in range(4):
        ground.kill_after(draw.randint(1, 1_200))
        compare(ground)
    ground.finish()
    check(ground)
    assert compare(ground) == [0, 0, 0, 0]


def test_a_kill_during_restore_and_a_lost_folder_change_nothing(ground: Ground) -> None:
    assert ground.crash("before-begin:6")
    for point in RESTORE_POINTS:
        shutil.rmtree(ground.folder / "state")
        assert ground.crash(f"{point}:1")
        compare(ground)
    for table in (ground.folder / "state").rglob("CURRENT"):
        table.write_bytes(b"")
    ground.finish()
    check(ground)
    assert compare(ground) == [0, 0, 0, 0]
