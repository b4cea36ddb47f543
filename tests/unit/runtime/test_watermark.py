"""Event time: watermarks do not depend on batches, stand on the slowest live input and never go back."""

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.runtime.event_time import (
    END_OF_TIME,
    IDLE,
    NO_WATERMARK,
    IdleDecision,
    Marker,
    StepRows,
    TaskTime,
    TimeRule,
    start,
)
from streamflow.runtime.watermark import SourceWatermark, advance, source_watermarks

TIMES = st.lists(st.none() | st.integers(-20, 20) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=30)


def times(values: list[int | None]) -> pl.Series:
    return pl.Series("@ts", values, dtype=pl.Int64)


def by_row(values: list[int | None], disorder_ms: int) -> list[int]:
    """The definition, row by row."""
    out, highest = [], NO_WATERMARK
    for value in values:
        if value is not None:
            highest = max(highest, max(min(value, IDLE - 1), NO_WATERMARK + disorder_ms) - disorder_ms)
        out.append(highest)
    return out


def pieces(values: list[int | None], data: st.DataObject) -> list[list[int | None]]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=6)))
    return [values[a:b] for a, b in pairwise([0, *cuts, len(values)])]


@given(TIMES, st.integers(0, 7), st.data())
def test_any_split_into_batches_gives_the_same_watermarks(
    values: list[int | None], disorder_ms: int, data: st.DataObject
) -> None:
    clock, found = SourceWatermark(disorder_ms=disorder_ms), []
    for piece in pieces(values, data):
        found += clock.advance(times(piece)).to_list()
    assert found == by_row(values, disorder_ms)


@given(TIMES, st.integers(0, 7), st.data())
def test_a_task_with_one_input_has_that_input_s_watermark(
    values: list[int | None], disorder_ms: int, data: st.DataObject
) -> None:
    rules, found = [TimeRule(disorder_ms=disorder_ms)], []
    time = start(rules)
    for piece in pieces(values, data):
        step = advance(rules, time, [StepRows(ts=times(piece))], now_ms=0)
        found += step.watermarks[0].to_list()
        time = step.after
    assert found == by_row(values, disorder_ms)
    assert time.watermark_ms == (found[-1] if found else NO_WATERMARK)


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=25)


def step_of(rows: list[tuple[int, int]], inputs: int = 3) -> list[StepRows]:
    """Rows (input, time) in merged order as what `advance` takes."""
    return [
        StepRows(
            ts=times([t for i, t in rows if i == own]),
            order=pl.Series([rank for rank, (i, _) in enumerate(rows) if i == own], dtype=pl.UInt32),
        )
        for own in range(inputs)
    ]


@given(ROWS, st.data())
def test_over_several_inputs_it_is_the_least_of_their_own_whatever_the_batches(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    own, expected = [NO_WATERMARK] * 3, []
    for i, t in rows:
        own[i] = max(own[i], t - 2)
        expected.append(min(own))
    rules = [TimeRule(disorder_ms=2)] * 3
    time, found = start(rules), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    for a, b in pairwise([0, *cuts, len(rows)]):
        step = advance(rules, time, step_of(rows[a:b]), now_ms=0)
        left = [iter(w.to_list()) for w in step.watermarks]
        found += [next(left[i]) for i, _ in rows[a:b]]
        time = step.after
    assert found == expected


def nothing(*, caught_up: bool = True) -> StepRows:
    return StepRows(ts=times([]), order=pl.Series([], dtype=pl.UInt32), caught_up=caught_up)


def test_an_input_that_is_silent_too_long_is_not_waited_for_until_its_next_row() -> None:
    rules = [TimeRule(idle_after_ms=100), TimeRule(idle_after_ms=100)]
    both = advance(rules, start(rules), step_of([(0, 10), (1, 4)], 2), now_ms=1000)
    assert both.after.watermark_ms == 4
    early = advance(rules, both.after, step_of([(0, 20)], 2), now_ms=1099)
    assert (early.decisions, early.after.watermark_ms) == ((), 4)
    late = advance(rules, early.after, step_of([(0, 30)], 2), now_ms=1100)
    assert late.decisions == (IdleDecision(1),)
    assert (late.watermarks[0].to_list(), late.after.watermark_ms) == ([30], 30)
    back = advance(rules, late.after, step_of([(1, 7), (0, 40)], 2), now_ms=1110)
    assert [w.to_list() for w in back.watermarks] == [[30], [30]]  # never back, though input 1 stands at 7
    assert back.after.inputs[1].idle is False
    again = advance(rules, back.after, step_of([(1, 35), (0, 41)], 2), now_ms=1111)
    assert [w.to_list() for w in again.watermarks] == [[35], [35]]


def test_an_input_with_more_on_the_log_is_not_idle() -> None:
    rules = [TimeRule(), TimeRule(idle_after_ms=100)]
    first = advance(rules, start(rules), [nothing(), nothing()], now_ms=0)
    behind = advance(rules, first.after, [nothing(), nothing(caught_up=False)], now_ms=500)
    assert behind.decisions == ()
    assert advance(rules, behind.after, [nothing(), nothing()], now_ms=500).decisions == (IdleDecision(1),)


def test_a_replay_takes_the_decisions_of_the_journal_not_the_clock() -> None:
    rules = [TimeRule(), TimeRule(idle_after_ms=100)]
    first = advance(rules, start(rules), step_of([(0, 5), (1, 3)], 2), now_ms=0).after
    told = advance(rules, first, step_of([(0, 9)], 2), now_ms=0, decisions=[IdleDecision(1)])
    assert told.after.watermark_ms == 9
    not_told = advance(rules, first, step_of([(0, 9)], 2), now_ms=10_000, decisions=[])
    assert not_told.after.watermark_ms == 3


def test_when_no_input_is_live_time_stands_still_and_the_task_says_so() -> None:
    rules = [TimeRule(idle_after_ms=1)]
    one = advance(rules, start(rules), [StepRows(ts=times([8]))], now_ms=0).after
    idle = advance(rules, one, [StepRows(ts=times([]))], now_ms=5).after
    assert (one.said_ms, idle.watermark_ms, idle.said_ms) == (8, 8, IDLE)


def ended(at: int, ts: list[int | None], positions: list[int]) -> StepRows:
    """Rows of a source that says at offset `at` that it is done."""
    return StepRows(ts=times(ts), positions=pl.Series(positions, dtype=pl.Int64), markers=[Marker(at, 0, END_OF_TIME)])


def test_the_end_of_a_bounded_source_is_the_end_of_time() -> None:
    rules = [TimeRule(), TimeRule()]
    one = advance(rules, start(rules), [StepRows(ts=times([5])), StepRows(ts=times([]))], now_ms=0)
    half = advance(rules, one.after, [StepRows(ts=times([])), ended(8, [3], [7])], now_ms=0)
    assert (half.watermarks[1].to_list(), half.after.watermark_ms, half.after.said_ms) == ([3], 5, 5)
    both = advance(rules, half.after, [ended(6, [], []), nothing()], now_ms=0).after
    assert both.watermark_ms == both.said_ms == END_OF_TIME


def test_time_begins_anew_when_a_source_has_more_after_its_end() -> None:
    rules = [TimeRule()]
    step = advance(rules, start(rules), [ended(2, [50, 60, 7, 9], [0, 1, 3, 4])], now_ms=0)
    assert step.watermarks[0].to_list() == [50, 60, 7, 9]
    again = advance(rules, step.after, [ended(5, [], [])], now_ms=0).after
    assert again.said_ms == END_OF_TIME
    last = advance(rules, again, [StepRows(ts=times([None, 3, 2]))], now_ms=0)
    assert last.watermarks[0].to_list() == [END_OF_TIME, 3, 3]  # a row without time changes nothing
    assert last.after.said_ms == 3


@given(st.lists(st.integers(0, 9) | st.just("end"), max_size=12), st.data())
def test_ends_of_a_source_give_the_same_watermarks_whatever_the_batches(
    log: list[int | str], data: st.DataObject
) -> None:
    expected, highest = [], NO_WATERMARK
    for entry in log:
        if isinstance(entry, int):
            highest = entry if highest == END_OF_TIME else max(highest, entry)
            expected.append(highest)
        else:
            highest = END_OF_TIME
    rules = [TimeRule()]
    time, found = start(rules), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=5)))
    for a, b in pairwise([0, *cuts, len(log)]):
        rows = [(p, entry) for p, entry in enumerate(log[a:b], a) if isinstance(entry, int)]
        step = StepRows(
            ts=times([t for _, t in rows]),
            positions=pl.Series([p for p, _ in rows], dtype=pl.Int64),
            markers=[Marker(p, 0, END_OF_TIME) for p in range(a, b) if log[p] == "end"],
        )
        after = advance(rules, time, [step], now_ms=0)
        found += after.watermarks[0].to_list()
        time = after.after
    assert (found, time.watermark_ms) == (expected, highest)


UPSTREAM = TimeRule(upstream=(0, 1))


def marked(positions: list[int], markers: list[Marker]) -> StepRows:
    return StepRows(ts=times([0] * len(positions)), positions=pl.Series(positions, dtype=pl.Int64), markers=markers)


def test_on_an_internal_topic_the_slowest_upstream_task_counts() -> None:
    markers = [Marker(11, 0, 50), Marker(13, 1, 20), Marker(15, 1, 60), Marker(16, 0, 70)]
    step = advance([UPSTREAM], start([UPSTREAM]), [marked([10, 12, 14, 17], markers)], now_ms=0)
    assert step.watermarks[0].to_list() == [NO_WATERMARK, NO_WATERMARK, 20, 60]
    assert step.after.inputs[0].tasks == {0: 70, 1: 60}


@given(st.lists(st.tuples(st.sampled_from([0, 1, "row"]), st.sampled_from([*range(10), IDLE, END_OF_TIME]))), st.data())
def test_markers_give_the_same_watermarks_whatever_the_batches(log: list[tuple[str, int]], data: st.DataObject) -> None:
    said, expected, highest = {0: NO_WATERMARK, 1: NO_WATERMARK}, [], NO_WATERMARK
    for task, value in log:
        if task == "row":
            expected.append(highest)
        else:
            said[task] = value
            least = min(said.values())
            if highest == END_OF_TIME and least not in (IDLE, NO_WATERMARK):
                highest = least
            highest = max(highest, least if least != IDLE else NO_WATERMARK)
    time, found = start([UPSTREAM]), []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=5)))
    for a, b in pairwise([0, *cuts, len(log)]):
        positions = [p for p in range(a, b) if log[p][0] == "row"]
        markers = [Marker(p, *log[p]) for p in range(a, b) if log[p][0] != "row"]
        step = advance([UPSTREAM], time, [marked(positions, markers)], now_ms=0)
        found += step.watermarks[0].to_list()
        time = step.after
    assert (found, time.watermark_ms) == (expected, highest)


def test_a_restarted_upstream_task_holds_time_back_at_what_it_last_said() -> None:
    known = advance([UPSTREAM], start([UPSTREAM]), [marked([], [Marker(0, 0, 5), Marker(1, 1, 9)])], now_ms=0)
    step = advance([UPSTREAM], known.after, [marked([3], [Marker(2, 1, 100)])], now_ms=0)
    assert step.watermarks[0].to_list() == [5]


def test_an_idle_upstream_task_is_not_waited_for() -> None:
    markers = [Marker(0, 0, 5), Marker(1, 1, IDLE), Marker(2, 0, 8)]
    assert advance([UPSTREAM], start([UPSTREAM]), [marked([], markers)], now_ms=0).after.watermark_ms == 8


def test_a_marker_takes_effect_behind_the_row_before_it_among_all_inputs() -> None:
    rules = [UPSTREAM, TimeRule()]
    before = TaskTime(
        inputs=(start([TimeRule(upstream=(0,))]).inputs[0], start([TimeRule()]).inputs[0]),
    )
    left = StepRows(
        ts=times([1, 5]),
        order=pl.Series([0, 3], dtype=pl.UInt32),
        positions=pl.Series([7, 9]),
        markers=[Marker(8, 0, 4)],
    )
    right = StepRows(ts=times([2, 3]), order=pl.Series([1, 2], dtype=pl.UInt32))
    step = advance(rules, before, [left, right], now_ms=0)
    assert [w.to_list() for w in step.watermarks] == [[NO_WATERMARK, 3], [2, 3]]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_no_row_can_pretend_to_be_the_end_of_time(value: int) -> None:
    (mark,) = source_watermarks(times([value]), disorder_ms=3).tolist()
    assert NO_WATERMARK <= mark < IDLE


def test_rows_that_come_back_to_a_loop_have_no_part_in_time() -> None:
    """Its stage would wait for itself. They see the time of the other inputs, however old or new they are."""
    rules = [TimeRule(), TimeRule(aside=True, upstream=(0, 1))]
    before = start(rules)
    assert before.inputs[1].busy == frozenset()
    rows = [
        StepRows(ts=times([10, 20]), order=pl.Series([0, 2])),
        StepRows(ts=times([5, 99]), order=pl.Series([1, 3]), caught_up=False),
    ]
    done = advance(rules, before, rows, now_ms=0)
    assert [marks.to_list() for marks in done.watermarks] == [[10, 20], [10, 20]]
    assert (done.after.watermark_ms, done.after.said_ms) == (20, 20)
    alone = [StepRows(ts=times([])), StepRows(ts=times([7]), order=pl.Series([0]))]
    assert advance(rules, done.after, alone, now_ms=0).after.watermark_ms == 20
