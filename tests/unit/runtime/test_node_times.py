"""Event time inside a stage, where nodes hold rows back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from streamflow.model.batch import ROW, WM, Batch
from streamflow.model.types import LONG, record_of
from streamflow.runtime.event_time import END_OF_TIME, NO_WATERMARK
from streamflow.runtime.node_times import NO_TIMES, behind, lowered, pieces, step_times, times_of
from streamflow.sdk.operator import NO_ROW
from streamflow.topology.plan import NodePlan, StagePlan, Wire


class Holds:
    def __init__(self, ms: int) -> None:
        self.holds_ms = ms

    def process(self, inputs: object, ctx: object) -> None: ...

    def advance(self, times: object, ctx: object) -> None: ...


class Plain:
    def process(self, inputs: object, ctx: object) -> None: ...


def at(ranks: Sequence[int], marks: Sequence[int]) -> Batch:
    frame = pl.DataFrame({ROW: ranks, WM: marks}, schema={ROW: pl.UInt32, WM: pl.Int64})
    return Batch(frame, record_of({"n": LONG}))


def rows(*marks: int) -> Batch:
    return at(range(len(marks)), marks)


def marks(together: Mapping[str, Batch]) -> list[dict[str, list[int]]]:
    """Watermarks of each piece by node; each piece comes with the times of its rows."""
    found = []
    for piece, times in pieces(together, times_of(together)):
        assert times.equals(times_of(piece))
        found.append({node: batch.frame[WM].to_list() for node, batch in piece.items()})
    return found


def test_a_node_lies_behind_by_the_most_that_any_way_to_it_holds() -> None:
    def node(name: str, *before: str) -> NodePlan:
        return NodePlan(id=name, kind="x", wires={"in": tuple(Wire(node=b) for b in before)})

    nodes = (node("a", "trigger"), node("b", "a"), node("c", "a", "b"), node("d", "trigger"))
    stage = StagePlan(id="s", inputs=(), nodes=nodes)
    operators = {"a": Holds(5), "b": Holds(7), "c": Plain(), "d": Plain()}
    assert behind(stage, operators) == {"a": 0, "b": 5, "c": 12, "d": 0}  # type: ignore[arg-type]


def test_rows_show_a_lower_watermark_but_what_is_no_time_stays() -> None:
    seen = lowered(rows(NO_WATERMARK, NO_WATERMARK + 3, 10, END_OF_TIME), 5).frame[WM].to_list()
    assert seen == [NO_WATERMARK, NO_WATERMARK, 5, END_OF_TIME]
    batch = rows(1, 2)
    assert lowered(batch, 0) is batch


def test_rows_are_cut_where_time_begins_anew() -> None:
    assert marks({"a": rows(1, 5, 5, 2, 3, 1)}) == [{"a": [1, 5, 5]}, {"a": [2, 3]}, {"a": [1]}]
    assert len(marks({"a": rows(1, 1, 2)})) == 1


def test_rows_of_several_inputs_are_cut_in_their_common_order() -> None:
    together = {"a": at([0, 2, 3], [1, 5, 2]), "b": at([1, 4, 5], [1, 2, 1])}
    assert marks(together) == [{"a": [1, 5], "b": [1]}, {"a": [2], "b": [2]}, {"b": [1]}]
    assert times_of(together).rows() == [(0, 1), (1, 1), (2, 5), (3, 2), (4, 2), (5, 1)]


def test_a_time_is_crossed_at_the_first_row_that_has_reached_it() -> None:
    times = step_times(times_of({"a": rows(10, 20, 20, 30)}), 40, 5)  # seen as 5, 15, 15, 25
    crossed = times.crossing(pl.Series([4, 5, 6, 15, 16, 25, 26]).to_numpy())
    assert crossed.tolist() == [0, 0, 1, 1, 3, 3, NO_ROW]
    assert step_times(NO_TIMES, 40, 5).crossing(pl.Series([1]).to_numpy()).tolist() == [NO_ROW]
