"""Strategies that place rows: what each promises, and that the cut into steps shows nowhere."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.model.batch import OFFSET, PATH, ROW, SOURCE, Batch
from streamflow.model.types import LONG, record_of
from streamflow.operators.placement import TO, Placement, Strategy, least_loaded, turns
from streamflow.testing.operator_kit import KitContext

SCHEMA = record_of({"n": LONG})


def rows(start: int, stop: int) -> Batch:
    n = pl.int_range(start, stop, dtype=pl.Int64, eager=True)
    frame = pl.DataFrame({"n": n, OFFSET: n, ROW: n.cast(pl.UInt32)})
    return Batch(frame.with_columns(pl.lit("t#1/0").alias(SOURCE), pl.lit(b"").alias(PATH)), SCHEMA)


def placed(strategy: Strategy, count: int, *, weights: tuple[int, ...] = (), step: int = 1_000_000) -> list[int]:
    placement, ctx = Placement(strategy, len(weights) or 5, weights), KitContext(partition=3)
    found: list[int] = []
    for start in range(0, count, step):
        found += placement.place(rows(start, min(start + step, count)), ctx).frame[TO].to_list()
    return found


def test_round_robin_goes_on_where_the_step_before_ended() -> None:
    assert placed("round_robin", 7, step=3) == [3, 4, 0, 1, 2, 3, 4]


def test_weights_are_kept_exactly_and_mixed() -> None:
    assert placed("weighted", 8, weights=(2, 0, 1, 1)) == [0, 2, 3, 0] * 2
    assert np.bincount(turns((30, 10, 60))).tolist() == [3, 1, 6]  # the shortest turn that has these parts


def test_random_is_even_and_the_same_every_time() -> None:
    drawn = placed("random", 10_000)
    assert drawn == placed("random", 10_000, step=777)
    assert all(1_800 < n < 2_200 for n in np.bincount(drawn))


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "random", "least_loaded"])
def test_steps_show_nowhere(strategy: Strategy) -> None:
    weights = (3, 0, 2) if strategy == "weighted" else ()
    assert placed(strategy, 50, weights=weights, step=7) == placed(strategy, 50, weights=weights)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 40))
def test_each_row_goes_where_the_load_is_least(loads: list[int], count: int) -> None:
    expected, now = [], list(loads)
    for _ in range(count):
        to = now.index(min(now))
        now[to] += 1
        expected.append(to)
    assert least_loaded(np.array(loads, np.int64), count).tolist() == expected


def test_partitions_that_were_added_catch_up() -> None:
    ctx = KitContext()
    Placement("least_loaded", 2).place(rows(0, 4), ctx)
    assert Placement("least_loaded", 3).place(rows(4, 8), ctx).frame[TO].to_list() == [2, 2, 0, 1]
