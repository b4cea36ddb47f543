"""Which copies of state are of use, and which are not: one row a case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from streamflow.model.positions import TopicPartition
from streamflow.runtime.checkpoint import why_useless
from streamflow.sdk.log import Log, TopicInfo
from streamflow.state import rocks
from streamflow.state.task_state import RocksState

AT, NAME = TopicPartition("w.n.s.changelog", 0), ("n", "s")
HOUR_MS = 3_600_000
NOW_MS = 1_000 * HOUR_MS


class Ends:
    """The part of a log that is asked."""

    def __init__(self, start: int, end: int) -> None:
        self.range = (start, end)

    async def offsets(self, _at: TopicPartition) -> tuple[int, int]:
        return self.range


@pytest.mark.parametrize(
    ("start", "end", "age_hours", "config", "told"),
    [
        (0, 50, 0, {}, ""),
        (0, 90, 1, {}, ""),
        (0, 49, 0, {}, "holds offsets 0 to 49, it is at 50"),  # ahead: the topic was made anew, or cut
        (51, 90, 0, {}, "holds offsets 51 to 90"),
        (50, 90, 0, {}, "holds offsets 50 to 90"),  # what was before may be gone for good
        (0, 90, 23, {}, ""),
        (0, 90, 24, {}, "older than the deletions"),
        (0, 50, 999, {}, ""),  # nothing was written since
        (0, 90, 2, {"delete.retention.ms": str(2 * HOUR_MS)}, "older than the deletions"),
    ],
)
def test_what_a_copy_is_good_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    end: int,
    age_hours: int,
    config: dict[str, str],
    told: str,
) -> None:
    monkeypatch.setattr(rocks, "_now_ms", lambda: NOW_MS - age_hours * HOUR_MS)
    state = RocksState([NAME], tmp_path / "0", b"")
    state.open()
    state.stores[NAME].put(b"a", b"1")
    state.stores[NAME].commit(50)
    topics = {AT.topic: TopicInfo(name=AT.topic, partitions=1, incarnation="x", config=config)}
    why = asyncio.run(why_useless(state, cast(Log, Ends(start, end)), {NAME: AT}, topics, NOW_MS))
    assert told in why
    assert bool(told) == bool(why)
    state.discard("test")
    assert asyncio.run(why_useless(state, cast(Log, Ends(start, end)), {NAME: AT}, topics, NOW_MS)) == ""
    state.close()


def test_a_copy_that_was_brought_up_in_part_is_as_old_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion in the rest may have been due to go long before the part was read."""
    state = RocksState([NAME], tmp_path / "0", b"")
    state.open()
    store = state.stores[NAME]
    monkeypatch.setattr(rocks, "_now_ms", lambda: NOW_MS - 40 * HOUR_MS)
    store.put(b"a", b"1")
    store.commit(50)
    monkeypatch.setattr(rocks, "_now_ms", lambda: NOW_MS - 20 * HOUR_MS)
    store.restore([(b"b", b"1")], 60)
    topics = {AT.topic: TopicInfo(name=AT.topic, partitions=1, incarnation="x", config={})}
    why = asyncio.run(why_useless(state, cast(Log, Ends(0, 90)), {NAME: AT}, topics, NOW_MS))
    assert "older than the deletions" in why
    state.close()
