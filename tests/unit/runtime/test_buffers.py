"""What is held of inputs whose rows are merged: what may be taken, and that nothing between rows is lost or doubled."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs import BadRecord, Marker
from streamflow.model.batch import POSITION, TS
from streamflow.model.positions import TopicPartition
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.buffers import Buffers

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def arrived(at: TopicPartition, times: Sequence[int], *, first: int = 0, step: int = 1, end: int = -1) -> Arrived:
    """Rows at offsets `first`, `first + step`, …"""
    positions = [first + step * i for i in range(len(times))]
    frame = pl.DataFrame({TS: times, POSITION: positions}, schema={TS: pl.Int64, POSITION: pl.Int64})
    return Arrived(at=at, first=first, end_offset=end if end >= 0 else first + step * len(times), frame=frame)


def bad(offset: int) -> BadRecord:
    return BadRecord(offset, 0, None, b"", [], "undecodable", "")


def test_rows_wait_for_an_input_that_has_more() -> None:
    held = Buffers([A, B])
    held.add(arrived(A, [1, 5, 9]))
    assert held.take({B: True}, {}) == []
    assert held.end_offset(A, 0) == 3
    held.add(arrived(B, [4, 6], first=10))
    first = held.take({A: True, B: True}, {})
    assert [(one.at, one.first, one.end_offset) for one in first] == [(A, 0, 2), (B, 10, 12)]
    assert [one.order.to_list() for one in first if one.order is not None] == [[0, 2], [1, 3]]
    assert A in held
    assert B not in held
    (rest,) = held.take({}, {A: 5, B: 6})
    assert (rest.first, rest.end_offset, rest.frame[TS].to_list()) == (2, 3, [9])
    assert not held


def test_a_row_behind_a_later_one_counts_with_its_time() -> None:
    held = Buffers([A, B])
    held.add(arrived(A, [3]))
    held.add(arrived(B, [5]))
    taken = held.take_all({A: 7})
    assert [one.order.to_list() for one in taken if one.order is not None] == [[1], [0]]


def test_what_lies_between_rows_goes_with_the_row_before() -> None:
    held = Buffers([A, B])
    one = arrived(A, [1, 8], first=10, step=5, end=30)
    one = Arrived(
        at=A, first=10, end_offset=30, frame=one.frame, bad=[bad(12), bad(20)], markers=[Marker(14, "end", b"", 0)]
    )
    held.add(one)
    held.add(arrived(B, [3]))
    head, _ = held.take({B: True}, {})
    assert (head.first, head.end_offset, head.records) == (10, 15, 2)
    assert ([b.offset for b in head.bad], [m.offset for m in head.markers]) == ([12], [14])
    (rest,) = held.take({}, {})
    assert (rest.first, rest.end_offset, [b.offset for b in rest.bad]) == (15, 30, [20])


def test_an_input_without_rows_is_taken_at_once() -> None:
    """There is nothing in it that could have to wait."""
    held = Buffers([A, B])
    held.add(arrived(A, [], first=3, end=9))
    (one,) = held.take({B: True}, {})
    assert (one.first, one.end_offset) == (3, 9)


@given(
    times=st.tuples(*[st.lists(st.integers(0, 20), max_size=8)] * 2),
    cuts=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
)
def test_any_reads_give_one_order(times: tuple[list[int], list[int]], cuts: list[tuple[int, int]]) -> None:
    """As long as inputs are read to their ends, whatever a read brings."""

    def order(sizes: Sequence[tuple[int, int]]) -> list[tuple[TopicPartition, int]]:
        held, read, taken_ms = Buffers([A, B]), {A: 0, B: 0}, {}
        of, found, turn = {A: times[0], B: times[1]}, [], 0
        while True:
            for number, at in enumerate((A, B)):
                size = sizes[turn % len(sizes)][number]
                if at not in held and read[at] < len(of[at]):
                    held.add(arrived(at, of[at][read[at] : read[at] + size], first=read[at]))
                    read[at] = min(len(of[at]), read[at] + size)
            turn += 1
            if not held:
                return found
            more = {at: read[at] < len(of[at]) for at in (A, B)}
            placed = {}
            for one in held.take(more, taken_ms):
                assert one.order is not None
                placed.update({r: (one.at, p) for r, p in zip(one.order.to_list(), one.frame[POSITION], strict=True)})
                taken_ms[one.at] = max([taken_ms.get(one.at, 0), *one.frame[TS].to_list()])
            found += [placed[r] for r in sorted(placed)]

    assert order(cuts) == order([(100, 100)])
    assert len(order(cuts)) == len(times[0]) + len(times[1])
