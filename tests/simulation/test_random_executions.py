"""A few of the random workflows of `random_executions`, and that a seed tells the same history each time."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.simulation.random_executions import Found, Refused, draw, play

SEEDS = range(40)
FOUND = sorted((Path(__file__).parent / "found").glob("*.yaml"))  # by the seed with which each of them failed once


@pytest.mark.parametrize("first", SEEDS[::10])
def test_every_execution_comes_to_one_legal_end(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 10):
        with contextlib.suppress(Refused):
            try:
                play(seed, tmp_path / str(seed))
            except Exception as error:
                error.add_note(f"seed {seed}:\n{draw(seed).text()}")
                raise


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_what_failed_once(file: Path, tmp_path: Path) -> None:
    play(int(file.stem), tmp_path, Found.read(file))


def test_the_same_seed_tells_the_same_history(tmp_path: Path) -> None:
    for seed in (3, 4, 9):  # two of them gather
        one, other = (play(seed, tmp_path / f"{seed}.{n}") for n in range(2))
        assert one == other
        assert one.history
