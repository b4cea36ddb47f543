"""The list of mutations keeps up with the code: each one's text is still there, once, and its tests exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
POINTS = {"12.1", "12.2", "12.4", "12.6", "12.8", "12.9", "12.11", "12.13"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.point}: {m.broken}")
def test_a_mutation_fits_the_code(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.new != mutation.old
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text() if name else (ROOT / file).exists()


def test_every_point_is_broken_in_two_ways() -> None:
    for point in POINTS:
        assert sum(m.point == point for m in MUTATIONS) >= 2
