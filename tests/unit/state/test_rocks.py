"""What state on disk promises beyond the conformance suite: it outlives its process, belongs to one task, and is never
believed when it is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import structlog

from streamflow.sdk.errors import StateBroken, StateBusy, StateError
from streamflow.state.rocks import STORES_MAX, RocksStore
from streamflow.state.rocks_folder import RocksFolder
from streamflow.state.task_state import folder_of

Open = Callable[..., tuple[RocksFolder, RocksStore]]
Told = list[MutableMapping[str, Any]]


@pytest.fixture
def told() -> Iterator[Told]:
    """What was logged."""
    with structlog.testing.capture_logs() as logged:
        yield logged


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the task's folder with one store."""
    folders: list[RocksFolder] = []

    def open_(binding: bytes = b"mine") -> tuple[RocksFolder, RocksStore]:
        folder = RocksFolder(tmp_path / "0", binding)
        folders.append(folder)
        store = RocksStore("test", folder, 0)
        folder.open()
        return folder, store

    yield open_
    for folder in folders:
        folder.close()


def filled(opened: Open, entries: int = 30_000) -> tuple[RocksFolder, RocksStore]:
    """A folder with a store of so many entries in a file of its own, open."""
    folder, store = opened()
    keys = pl.int_range(entries, eager=True).cast(pl.String).str.zfill(9).cast(pl.Binary)
    store.restore_columns(keys, keys, entries)
    return folder, store


def damage(path: Path) -> None:
    """Spoil blocks of the largest table."""
    table = max(path.glob("*.sst"), key=lambda p: p.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    table.write_bytes(data)


def test_what_was_committed_is_there_again_and_what_was_not_is_gone(opened: Open) -> None:
    folder, store = opened()
    store.put(b"a", b"1")
    store.commit(7)
    store.put(b"a", b"2")
    store.put(b"b", b"2")
    folder.close()
    folder, store = opened()
    assert (store.changelog_offset, list(store.scan()), store.changes()) == (7, [(b"a", b"1")], [])


def test_what_was_restored_in_bulk_is_there_again(opened: Open) -> None:
    folder, store = filled(opened)
    store.put(b"zz", b"1")
    store.commit(30_001)
    gone = pl.Series([b"%09d" % i for i in range(25_000)])
    store.restore_columns(gone, pl.Series([None] * 25_000, dtype=pl.Binary), 60_000)
    folder.close()
    folder, store = opened()
    assert store.changelog_offset == 60_000
    assert [key for key, _ in store.scan()] == [b"%09d" % i for i in range(25_000, 30_000)] + [b"zz"]
    assert not list(folder.path.glob("restored*"))


def test_a_folder_belongs_to_one_task_at_a_time(opened: Open) -> None:
    folder, _ = opened()
    with pytest.raises(StateBusy, match=r"in use by process \d+"):
        opened()
    folder.close()
    opened()


def test_state_of_something_else_is_begun_anew(opened: Open, told: Told) -> None:
    folder, store = opened()
    store.put(b"a", b"1")
    store.commit(7)
    folder.close()
    folder, store = opened(b"another")
    assert (store.changelog_offset, list(store.scan())) == (0, [])
    assert [(t["event"], t["why"]) for t in told] == [("state_discarded", "it belongs to something else")]
    assert str(folder.path) == told[0]["folder"]


@pytest.mark.parametrize("spoilt", ["CURRENT", "MANIFEST-*", "*.sst"])
def test_files_that_are_gone_or_cut_make_a_new_beginning(opened: Open, told: Told, spoilt: str) -> None:
    folder, _ = filled(opened)
    folder.close()
    for path in folder.path.glob(spoilt):
        path.write_bytes(path.read_bytes()[:10])
    folder, store = opened()
    if not told:  # tables are looked at when they are read
        with pytest.raises(StateBroken):
            store.get(b"%09d" % 5)
        folder.mend()
    assert [t["event"] for t in told] == ["state_discarded"]
    assert (store.changelog_offset, list(store.scan())) == (0, [])


@pytest.mark.parametrize("how", ["get", "scan", "delete"])
def test_a_block_that_cannot_be_read_is_never_taken_for_nothing(opened: Open, told: Told, how: str) -> None:
    folder, _ = filled(opened)
    folder.close()
    damage(folder.path)
    folder, store = opened()
    keys = [b"%09d" % i for i in range(30_000)]
    use = {"get": store.get_many, "scan": lambda _: list(store.scan()), "delete": store.delete_many}[how]
    with pytest.raises(StateBroken, match="cannot be used"):
        use(keys)
    store.put(b"a", b"1")
    folder.mend()
    assert [t["event"] for t in told] == ["state_discarded"]
    assert (folder.broken, store.changelog_offset, store.changes(), list(store.scan())) == ("", 0, [], [])
    store.put(b"a", b"1")
    store.commit(3)
    folder.close()
    assert opened()[1].get(b"a") == b"1"


def test_a_folder_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot be kept in .*--state-dir"):
        RocksFolder(tmp_path / "file" / "0", b"").open()


def test_a_store_is_used_only_while_its_folder_is_open(opened: Open) -> None:
    folder, store = opened()
    folder.close()
    folder.close()
    with pytest.raises(StateError, match="not open"):
        store.get(b"a")


def test_more_stores_than_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=f"{STORES_MAX} is the most"):
        RocksStore("one more", RocksFolder(tmp_path, b""), STORES_MAX)


def test_names_of_any_kind_stay_below_the_root(tmp_path: Path) -> None:
    path = folder_of(tmp_path, "..", "a/b", "0")
    assert path == tmp_path / "%2E%2E" / "a%2Fb" / "0"


def test_what_a_kill_left_of_a_restore_is_never_written_to(opened: Open) -> None:
    """A table that was taken in keeps its first name beside its new one, if the process dies before that is removed."""
    folder, store = filled(opened)
    (table,) = folder.path.glob("*.sst")
    (folder.path / "restored.sst").hardlink_to(table)
    more = pl.Series([b"x%09d" % i for i in range(30_000)])
    store.restore_columns(more, more, 60_000)
    folder.close()
    folder, store = opened()
    assert (store.changelog_offset, len(list(store.scan()))) == (60_000, 60_000)
