"""Rows of a step, cut where executions end."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from streamflow.model.batch import ROW, WM, Batch
from streamflow.model.types import LONG, record_of
from streamflow.runtime.pieces import pieces_of
from streamflow.runtime.seed import Segment


def rows(ranks: Sequence[int]) -> Batch:
    frame = pl.DataFrame({ROW: ranks, WM: [10 * r for r in ranks]}, schema={ROW: pl.UInt32, WM: pl.Int64})
    return Batch(frame, record_of({"n": LONG}))


def shown(segments: dict[str, list[Segment]]) -> list[tuple[dict[str, list[int]], str, int | None]]:
    return [
        ({n: b.frame[ROW].to_list() for n, b in p.rows.items()}, p.ended, p.watermark_ms()) for p in pieces_of(segments)
    ]


def test_one_input_is_cut_at_its_ends() -> None:
    segments = [Segment(rows([0, 1]), "e1", 7), Segment(rows([]), "e2", 8), Segment(rows([2]))]
    assert shown({"a": segments}) == [({"a": [0, 1]}, "e1", 10), ({}, "e2", None), ({"a": [2]}, "", 20)]


def test_nothing_ends_nothing_is_cut() -> None:
    assert shown({"a": [Segment(rows([0, 2]))], "b": [Segment(rows([1]))]}) == [({"a": [0, 2], "b": [1]}, "", 20)]
    assert shown({"a": [Segment(rows([]))]}) == [({}, "", None)]


def test_an_end_stands_behind_the_row_before_it_among_the_rows_of_all_inputs() -> None:
    found = shown(
        {
            "a": [Segment(rows([0, 3]), "ea", 7), Segment(rows([5]))],
            "b": [Segment(rows([1]), "eb", 9), Segment(rows([2, 4]))],
        }
    )
    assert found == [
        ({"a": [0], "b": [1]}, "eb", 10),
        ({"a": [3], "b": [2]}, "ea", 30),
        ({"a": [5], "b": [4]}, "", 50),
    ]


def test_an_end_without_a_row_before_it_comes_first() -> None:
    found = shown({"a": [Segment(rows([]), "ea", 1), Segment(rows([1]))], "b": [Segment(rows([0]))]})
    assert found == [({}, "ea", None), ({"a": [1], "b": [0]}, "", 10)]
