"""Functions whose states merge: their results against plain Python, however the rows are put together."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from streamflow.model.types import DOUBLE, LONG, STRING, array_of, record_of
from streamflow.operators.extremes import Extreme, Top
from streamflow.operators.folding import Columns, Folding
from streamflow.operators.hashing import hashes
from streamflow.operators.sketches import ApproxCountDistinct, Quantiles

PAIR = array_of(record_of({"value": STRING.optional(), "by": DOUBLE}))
FUNCTIONS: list[Folding] = [
    Extreme("r", "max_by", "v", "b", STRING, DOUBLE, STRING.optional()),
    Extreme("r", "min_by", "v", "b", STRING, DOUBLE, STRING.optional()),
    Top("r", "v", "b", STRING, DOUBLE, PAIR, 3),
    ApproxCountDistinct("r", "v", STRING),
    Quantiles("r", "b", (0.0, 0.5, 1.0), array_of(DOUBLE).optional()),
]


def rows(count: int, seed: int = 3) -> pl.DataFrame:
    rng = random.Random(seed)
    numbers = [None, float("nan"), 0.0, -2.5, 7.0, 7.0, 1e300, float("inf")]
    made = {
        "v": [rng.choice(["a", "b", "c", None]) for _ in range(count)],
        "b": [rng.choice(numbers) for _ in range(count)],
    }
    return pl.DataFrame(made, schema={"v": pl.String, "b": pl.Float64})


def units(fold: Folding, frame: pl.DataFrame) -> Columns:
    times = pl.Series([7 * i % 5 for i in range(frame.height)], dtype=pl.Int64)
    return fold.unit(fold.values(frame), times)


def combined(fold: Folding, states: Columns) -> Columns:
    group = pl.repeat(0, len(next(iter(states.values()))), dtype=pl.UInt32, eager=True)
    return fold.combined(states, group, 1)


@pytest.mark.parametrize("fold", FUNCTIONS, ids=lambda f: f"{type(f).__name__}-{getattr(f, 'name', '')}")
def test_states_merge_to_the_same_in_any_grouping(fold: Folding) -> None:
    states = pl.DataFrame(units(fold, rows(40)))
    whole = combined(fold, states.to_dict())
    for cuts in ([10, 11, 30], [1, 2, 3], [39]):
        parts = [states[a:b] for a, b in zip([0, *cuts], [*cuts, 40], strict=True)]
        merged = pl.concat(
            pl.DataFrame(combined(fold, part.to_dict())).cast(pl.Schema(states.schema)) for part in parts
        )
        assert fold.result(combined(fold, merged.to_dict())).equals(fold.result(whole), null_equal=True)


@pytest.mark.parametrize("fold", FUNCTIONS, ids=lambda f: f"{type(f).__name__}-{getattr(f, 'name', '')}")
def test_what_a_group_has_come_to_at_a_row_is_what_its_rows_up_to_there_give(fold: Folding) -> None:
    states = pl.DataFrame(units(fold, rows(23)))
    group = pl.Series([i % 3 for i in range(23)], dtype=pl.UInt32)
    shown = fold.result(fold.running(states.to_dict(), group))
    for i in range(23):
        mine = states.filter((group == group[i]) & (pl.Series(range(23)) <= i))
        assert fold.result(combined(fold, mine.to_dict())).equals(shown[i : i + 1], null_equal=True), i


def test_extremes_skip_nulls_and_ties_go_to_the_earliest() -> None:
    frame = pl.DataFrame({"v": ["late", "early", "low", "none"], "b": [7.0, 7.0, -1.0, None]})
    times = pl.Series([5, 3, 9, 1])
    greatest, least, top = FUNCTIONS[:3]
    for fold, result in ((greatest, "early"), (least, "low")):
        assert fold.result(combined(fold, fold.unit(fold.values(frame), times))).to_list() == [result]
    (found,) = top.result(combined(top, top.unit(top.values(frame), times))).to_list()
    assert found == [{"value": "early", "by": 7.0}, {"value": "late", "by": 7.0}, {"value": "low", "by": -1.0}]


@pytest.mark.parametrize("count", [0, 1, 10, 1_000, 5_000, 20_000, 300_000])
def test_distinct_counts_are_within_four_standard_errors(count: int) -> None:
    fold = ApproxCountDistinct("r", "v", LONG)
    values = pl.DataFrame({"v": pl.int_range(0, max(count, 1), eager=True) * 17})
    if not count:
        values = values.with_columns(pl.lit(None, pl.Int64).alias("v"))
    (found,) = fold.result(combined(fold, units(fold, values))).to_list()
    assert abs(found - count) <= max(4 * 0.0163 * count, 0)


def test_quantiles_are_as_close_as_promised() -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.lognormal(3, 4, 3_000), -rng.lognormal(1, 2, 1_000), np.zeros(50)])
    ranks = (0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0)
    fold = Quantiles("r", "b", ranks, array_of(DOUBLE).optional())
    (found,) = fold.result(combined(fold, units(fold, pl.DataFrame({"b": values})))).to_list()
    exact = [np.quantile(values, rank, method="lower") for rank in ranks]
    assert all(abs(f - e) <= abs(e) / 128 for f, e in zip(found, exact, strict=True))
    assert (found[0], found[-1]) == (exact[0], exact[-1])


def test_hashes_are_the_same_everywhere_and_for_ever() -> None:
    """Counts in stores of older versions merge with new ones only as long as these stay."""
    assert hashes(pl.Series([0, -1, 10**12]), LONG).tolist() == [
        16294208416658607535, 16490336266968443936, 17519542186978511224,
    ]  # fmt: skip
    assert hashes(pl.Series([0.0, -0.0]), DOUBLE).tolist() == [16294208416658607535] * 2
    assert hashes(pl.Series(["", "a"]), STRING).tolist() == [16476032584258269876, 4681665781835383343]
