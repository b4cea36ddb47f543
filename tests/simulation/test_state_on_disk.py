"""Workflows with state on disk: runs that go on from it, and copies that must not be believed.

Method: the same items in as many runs, once in memory and once on disk with something done to the folder in between;
what comes out must be the same.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from rocksdict import Rdict

from streamflow.logs.embedded import EmbeddedLog
from streamflow.sdk.errors import StateBroken, StateBusy
from streamflow.state import rocks
from streamflow.state.rocks_folder import RocksFolder
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled, run, send, values, with_log

WORKFLOW = """\
workflow: shop
nodes:
  orders: {type: event, topic: orders, format: json, partitioned_by: string(who), time: long(at)}
  tens: {type: window, key: string(who), size: 10ms, emit: update, fields: {n: {function: count}}}
  visits: {type: window, key: string(who), shape: session, gap: 5ms, fields: {n: {function: count}}}
  out: {type: publish, topic: out, format: json}
  sessions: {type: publish, topic: sessions, format: json}
connections:
  - orders -> tens -> out
  - orders -> visits -> sessions
policies: {commit_interval: 1ms, step_bytes_max: 512}
"""
PARTS, ITEMS = 4, 60  # runs, and items of each
Between = Callable[[Path, int], None]


def topology(backend: str) -> Topology:
    made = compiled(WORKFLOW)
    return replace(made, run=replace(made.run, state=backend))  # type: ignore[arg-type]


def ran(folder: Path, backend: str, between: Between = lambda _, __: None) -> list[Any]:
    """What comes out of all runs; "now and then": one of them is done in memory, without the copy.

    `between` is given the folder of state and the number of the run that is next.
    """

    async def work(log: EmbeddedLog) -> list[Any]:
        for part in range(PARTS):
            if part:
                between(folder / "state", part)
            items = [{"who": f"k{i * 7 % 13}", "at": i} for i in range(part * ITEMS, (part + 1) * ITEMS)]
            await send(log, "orders", items)
            in_memory = backend == "memory" or (backend == "now and then" and part == 1)
            await run(topology("memory" if in_memory else "rocksdb"), log, state_folder=str(folder / "state"))
        return [await values(log, "out"), await values(log, "sessions")]

    folder.mkdir()
    found: list[Any] = asyncio.run(with_log(folder / "log", work))
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return ran(tmp_path_factory.mktemp("memory") / "run", "memory")


@pytest.fixture
def told() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logged:
        yield logged


def discarded(told: list[Any]) -> list[str]:
    return [t["why"] for t in told if t["event"] == "state_discarded"]


def test_runs_go_on_from_what_is_on_disk(tmp_path: Path, expected: list[Any], told: list[Any]) -> None:
    assert ran(tmp_path / "run", "rocksdb") == expected
    assert not discarded(told)
    assert not [t for t in told if t["event"] == "state_restored"]  # not even a tail had to be read


@pytest.mark.parametrize("what", ["lost", "cut", "another plan", "old"])
def test_copies_that_are_of_no_use_are_made_again(
    tmp_path: Path, expected: list[Any], told: list[Any], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def spoil(state: Path, _: int) -> None:
        (folder,) = (path for path in state.glob("shop/*/0"))
        if what == "lost":
            shutil.rmtree(state)
        elif what == "cut":
            (folder / "CURRENT").write_bytes(b"")
        elif what == "another plan":
            base = Rdict(str(folder), rocks.options())
            base.put(b"\xffbinding", b"{}")
            base.close()

    if what == "old":
        monkeypatch.setattr(rocks, "_now_ms", lambda: 0)
    assert ran(tmp_path / "run", "now and then" if what == "old" else "rocksdb", spoil) == expected
    assert bool(discarded(told)) == (what != "lost")
    assert [t for t in told if t["event"] == "state_restored"]


def test_a_copy_that_the_log_went_on_without_reads_what_it_missed(
    tmp_path: Path, expected: list[Any], told: list[Any]
) -> None:
    assert ran(tmp_path / "run", "now and then") == expected
    assert not discarded(told)
    firsts = [t["first"] for t in told if t["event"] == "state_restored"]
    assert firsts.count(0) == 2  # the run in memory reads both changelogs whole
    assert len(firsts) == 4


@pytest.mark.parametrize("at", [30, 90])
def test_a_database_that_breaks_in_mid_run_is_restored_under_way(
    tmp_path: Path, expected: list[Any], told: list[Any], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Method: the nth use of a database fails, as when a block cannot be read."""
    working, uses = RocksFolder.working, 0

    @contextmanager
    def failing(folder: RocksFolder) -> Iterator[Rdict]:
        nonlocal uses
        uses += 1
        with working(folder) as base:
            if uses == at:
                raise RuntimeError("Corruption: block checksum mismatch")
            yield base

    monkeypatch.setattr(RocksFolder, "working", failing)
    assert ran(tmp_path / "run", "rocksdb") == expected
    assert discarded(told) == ["Corruption: block checksum mismatch"]


def test_a_database_that_stays_broken_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def failing(folder: RocksFolder) -> Iterator[Rdict]:
        folder.broken = "bad disk"
        raise StateBroken("bad disk")
        yield

    monkeypatch.setattr(RocksFolder, "working", failing)
    with pytest.raises(StateBroken, match="bad disk"):
        ran(tmp_path / "run", "rocksdb")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    held: list[RocksFolder] = []

    def take(state: Path, _: int) -> None:
        (folder,) = (path for path in state.glob("shop/*/0"))
        held.append(RocksFolder(folder, b"mine"))
        held[0].open()

    with pytest.raises(StateBusy, match="in use by process"):
        ran(tmp_path / "run", "rocksdb", take)
    held[0].close()
