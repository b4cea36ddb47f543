"""State on disk when its process is killed: behind what was committed at most, never ahead, never wrong.

Method: SIGKILL at named points or at random moments; then what each database holds must be exactly what the changelog
says up to the offset that the database names. At the end the usual checks of `killing` hold.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import POINTS, RESTORE_POINTS
from tests.simulation.killing import Ground, check, make
from tests.simulation.on_disk import behind

STORES = ("counts", "rows")  # of the node `sevens`, as they lie in a database


def compare(ground: Ground) -> list[int]:
    """How far each store is behind its changelog, in offsets; fails if it holds anything else."""

    async def read(log: EmbeddedLog) -> list[int]:
        found = []
        for p in range(ground.partitions):
            changelogs = [TopicPartition(f"numbers.sevens.{store}.changelog", p) for store in STORES]
            found += await behind(log, ground.folder / "state" / "numbers" / "numbers" / str(p), changelogs)
        return found

    return ground.on_log(read)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make(tmp_path, 9_000, "--state", "rocksdb", "--state-dir", "state")


def test_kills_at_every_point_of_a_commit_leave_a_store_that_is_behind_at_most(ground: Ground) -> None:
    left: dict[str, int] = {}
    for point in POINTS:
        nth = 5 if "frame" in point else 2  # frames make the producers, too
        assert ground.crash(f"{point}:{nth}"), f"{point} was not reached"
        left[point] = sum(compare(ground))
    assert left["after-frame"]  # a commit that is on the log and in no database
    assert left["before-store"]
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
