"""The order in which a task with several inputs takes rows: by time, never ahead of what is still to come."""

from dataclasses import dataclass
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.runtime.chooser import NOTHING_TAKEN, Buffered, Choice, choose, merged

TIMES = st.lists(st.integers(min_value=0, max_value=9), max_size=12)


def buffered(times: list[int], *, more: bool = False, taken_ms: int = NOTHING_TAKEN) -> Buffered:
    return Buffered(ts=pl.Series(times, dtype=pl.Int64), more=more, taken_ms=taken_ms)


def rows_of(choice: Choice, firsts: list[int]) -> list[tuple[int, int]]:
    """Taken rows in merged order as (input, offset); `firsts`: offset of each buffer's first row."""
    placed = {
        rank: (i, firsts[i] + n) for i, order in enumerate(choice.orders) for n, rank in enumerate(order.to_list())
    }
    assert sorted(placed) == list(range(len(choice)))
    assert [placed[r][0] for r in range(len(choice))] == choice.inputs.tolist()
    return [placed[r] for r in range(len(choice))]


def by_heads(streams: list[list[int]]) -> list[tuple[int, int]]:
    """The definition: again and again take the head with the least time; ties go to the smaller input."""
    at, taken = [0] * len(streams), []
    while True:
        heads = [(s[at[i]], i) for i, s in enumerate(streams) if at[i] < len(s)]
        if not heads:
            return taken
        _, i = min(heads)
        taken.append((i, at[i]))
        at[i] += 1


@dataclass
class Reader:
    """Feeds streams to `choose` in pieces of drawn sizes; keeps what a journal would."""

    streams: list[list[int]]

    def run(self, seed: int, *, patient: bool, rows_max: int | None) -> list[tuple[int, int]]:
        """`patient`: an input counts as caught up only at the end of its stream; else at random."""
        n, draw = len(self.streams), Random(seed)
        read, taken, taken_ms = [0] * n, [0] * n, (NOTHING_TAKEN,) * n
        order: list[tuple[int, int]] = []
        self.steps: list[list[tuple[int, int]]] = []
        while taken != [len(s) for s in self.streams]:
            for i, s in enumerate(self.streams):
                read[i] = min(len(s), read[i] + draw.randint(0, 3))
            if not patient and draw.random() < 0.5:
                more = [draw.random() < 0.5 for _ in range(n)]
            else:
                more = [read[i] < len(s) for i, s in enumerate(self.streams)]
            buffers = [
                buffered(s[taken[i] : read[i]], more=more[i], taken_ms=taken_ms[i]) for i, s in enumerate(self.streams)
            ]
            choice = choose(buffers, rows_max=rows_max)
            assert rows_max is None or len(choice) <= rows_max
            order += rows_of(choice, taken)
            ends = [t + c for t, c in zip(taken, choice.counts, strict=True)]
            self.steps.append(list(zip(taken, ends, strict=True)))
            taken, taken_ms = ends, choice.taken_ms
        return order

    def replay(self) -> list[tuple[int, int]]:
        order: list[tuple[int, int]] = []
        taken_ms = (NOTHING_TAKEN,) * len(self.streams)
        for ranges in self.steps:
            buffers = [
                buffered(s[a:b], taken_ms=taken_ms[i])
                for i, (s, (a, b)) in enumerate(zip(self.streams, ranges, strict=True))
            ]
            choice = merged(buffers)
            order += rows_of(choice, [a for a, _ in ranges])
            taken_ms = choice.taken_ms
        return order


@given(st.lists(TIMES, min_size=1, max_size=4))
def test_complete_inputs_merge_as_taking_heads_one_by_one(streams: list[list[int]]) -> None:
    choice = choose([buffered(s) for s in streams])
    assert rows_of(choice, [0] * len(streams)) == by_heads(streams)


@given(st.lists(TIMES, min_size=1, max_size=3), st.integers(0, 2**32), st.none() | st.integers(1, 3))
def test_any_split_into_batches_gives_the_same_order(streams: list[list[int]], seed: int, rows_max: int | None) -> None:
    assert Reader(streams).run(seed, patient=True, rows_max=rows_max) == by_heads(streams)


@given(st.lists(TIMES, min_size=1, max_size=3), st.integers(0, 2**32), st.none() | st.integers(1, 3))
def test_a_replay_of_the_steps_repeats_an_order_that_arrival_decided(
    streams: list[list[int]], seed: int, rows_max: int | None
) -> None:
    reader = Reader(streams)
    first = reader.run(seed, patient=False, rows_max=rows_max)
    assert reader.replay() == first
    for i, stream in enumerate(streams):
        assert [offset for j, offset in first if j == i] == list(range(len(stream)))


@pytest.mark.parametrize(
    ("left", "right", "taken"),
    [
        (buffered([1, 5], more=True), buffered([], more=True), (0, 0)),  # right may still bring anything
        (buffered([1, 5], more=True), buffered([], more=False), (2, 0)),  # right is caught up
        (buffered([1, 5], more=True), buffered([3], more=True), (1, 1)),  # 5 waits for what follows right's 3
        (buffered([1, 3, 5], more=True), buffered([3], more=True), (2, 1)),  # a tie: left's 3 precedes all 3s of right
        (buffered([1, 3], more=True), buffered([2, 3, 3], more=True), (2, 1)),  # right's 3s wait: left may bring a 3
        (buffered([], more=True, taken_ms=4), buffered([2, 3, 4, 9], more=False), (0, 2)),  # left has reached 4
        (buffered([], more=False), buffered([], more=True), (0, 0)),
    ],
)
def test_how_far_one_may_go(left: Buffered, right: Buffered, taken: tuple[int, int]) -> None:
    assert choose([left, right]).counts == taken


def test_a_row_behind_a_later_one_counts_with_the_later_time() -> None:
    choice = choose([buffered([10, 3]), buffered([5, 12])])
    assert rows_of(choice, [0, 0]) == [(1, 0), (0, 0), (0, 1), (1, 1)]
    assert choice.taken_ms == (10, 12)


def test_segments_are_runs_of_one_input() -> None:
    choice = choose([buffered([1, 2, 6]), buffered([3, 4, 7])])
    assert choice.segments().rows() == [(0, 0, 2), (1, 0, 2), (0, 2, 1), (1, 2, 1)]
    assert choose([buffered([]), buffered([])]).segments().rows() == []


def test_a_row_without_time_stays_where_it_is() -> None:
    rows = Buffered(ts=pl.Series([None, 4, None], dtype=pl.Int64), more=False)
    assert rows_of(choose([rows, buffered([3, 5])]), [0, 0]) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)]


def test_ranks_are_ready_to_be_the_row_column() -> None:
    (order,) = choose([buffered([1, 2])]).orders
    assert (order.name, order.dtype, order.to_list()) == ("@row", pl.UInt32, [0, 1])
