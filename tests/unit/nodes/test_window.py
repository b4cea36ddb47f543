"""The window node: what it does with rows that are no part of any window, and with values that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamflow.nodes import registry
from streamflow.operators.timers import StoreTimers
from streamflow.sdk.errors import StateBroken
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

BIG = 2**62


def ran(rows: Sequence[tuple[int, str | None, int]], window: str, *, end: bool = False) -> TopologyDriver:
    """Rows (event time, key, number) through a window that sums, by key."""
    driver = TopologyDriver(
        compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w: {{type: window, key: string(k), {window}, fields: {{sum: {{function: sum, of: long(n)}}}}}}
connections: [start -> w]
"""),
        nodes=registry(),
    )
    items = [{"k": key, "n": number} for _, key, number in rows]
    driver.feed("start", items, keys=[None] * len(rows), times_ms=[at for at, _, _ in rows], end=end)
    return driver


def sums(driver: TopologyDriver) -> list[tuple[object, object]]:
    return [(i["key"], i["sum"]) for i in driver.items("w", "out")]  # type: ignore[index, call-overload]


def test_rows_without_a_key_are_filtered_and_counted() -> None:
    driver = ran([(1, "a", 1), (2, None, 5), (3, "a", 2)], "size: 10ms, emit: update")
    assert sums(driver) == [("a", 1), ("a", 3)]
    assert driver.counts()["w"].filtered == 1


@pytest.mark.parametrize("shape", ["size: 10ms", "shape: session, gap: 10ms"])
def test_a_time_that_no_window_can_hold_fails(shape: str) -> None:
    driver = ran([(1, "a", 1), (2**62, "a", 5), (-(2**62), "a", 5)], f"{shape}, emit: update")
    assert sums(driver) == [("a", 1)]
    assert [d["code"] for d in driver.dead_letters()] == ["does_not_fit", "does_not_fit"]


@pytest.mark.parametrize("shape", ["size: 10ms", "shape: session, gap: 10ms", "shape: unbounded"])
def test_a_row_whose_running_sum_does_not_fit_fails(shape: str) -> None:
    driver = ran([(1, "a", BIG), (2, "a", BIG), (3, "a", -BIG), (3, "b", 1)], f"{shape}, emit: update")
    assert sums(driver) == [("a", BIG), ("a", BIG), ("b", 1)]  # it is part of the sum: the next one fits again
    (dead,) = driver.dead_letters()
    assert dead["code"] == "overflow"
    assert dead["item"] == {"k": "a", "n": BIG}


@pytest.mark.parametrize("shape", ["size: 10ms", "shape: session, gap: 10ms"])
def test_a_window_whose_sum_does_not_fit_fails_when_it_closes(shape: str) -> None:
    driver = ran([(1, "a", BIG), (2, "a", BIG), (3, "b", 1), (100, "c", 1)], f"{shape}, emit: close")
    assert sums(driver) == [("b", 1)]
    assert [d["code"] for d in driver.dead_letters()] == ["overflow"]
    assert driver.counts()["w"].failed_from_state == 1


def test_the_key_field_is_named_after_the_field_it_is() -> None:
    driver = TopologyDriver(
        compiled("""
workflow: w
nodes:
  start: {type: event, topic: in, format: json}
  typed: {type: set, keep: [], fields: {home: string(k), n: long(n)}}
  w: {type: window, key: home, by: {odd: n % 2 == 1}, size: 10ms, emit: update, fields: {n: {function: count}}}
connections: [start -> typed -> w]
"""),
        nodes=registry(),
    )
    driver.feed("start", [{"k": "a", "n": 1}, {"k": "a", "n": 2}, {"k": "a", "n": 3}], times_ms=[0, 0, 0])
    found = driver.items("w", "out")
    assert [(i["home"], i["odd"], i["n"]) for i in found] == [  # type: ignore[index, call-overload]
        ("a", True, 1),
        ("a", False, 1),
        ("a", True, 2),
    ]
    assert found[0]["window_start"] == "1970-01-01T00:00:00.000Z"  # type: ignore[index, call-overload]


def test_an_item_in_two_windows_of_which_one_overflows_has_one_fate() -> None:
    rows = [(1, "a", BIG), (12, "a", BIG), (13, "a", 1)]
    driver = ran(rows, "shape: hopping, size: 20ms, advance: 10ms, emit: update")
    assert sums(driver) == [("a", BIG)]
    assert [d["code"] for d in driver.dead_letters()] == ["overflow", "overflow"]


def test_as_many_pairs_as_rows_need_not_be_one_each() -> None:
    """Two rows and two pairs of row and window: the first row is late, the second one in two windows."""
    rows = [(100, "z", 0), (0, "a", 1), (112, "a", 2)]
    driver = ran(rows[:1], "shape: hopping, size: 20ms, advance: 10ms, emit: update")
    items = [{"k": key, "n": number} for _, key, number in rows[1:]]
    driver.feed("start", items, keys=[None, None], times_ms=[0, 112], end=False)
    assert sums(driver)[2:] == [("a", 2), ("a", 2)]
    assert [i["n"] for i in driver.items("w", "late")] == [1]  # type: ignore[index, call-overload]


def test_a_running_value_is_given_at_intervals_where_it_changed() -> None:
    rows = [(1, "a", 1), (4, "a", 2), (12, "b", 5), (13, "b", 5), (35, "a", 1), (50, "c", 0)]
    driver = ran(rows, "shape: unbounded, emit: every, every: 10ms")
    assert sums(driver) == [("a", 3), ("b", 10), ("a", 4)]


def test_what_changes_at_intervals_comes_again_when_its_window_closes() -> None:
    driver = ran([(1, "a", 1), (12, "a", 2), (14, "b", 1), (41, "c", 0)], "size: 20ms, emit: every, every: 10ms")
    assert sums(driver) == [("a", 1), ("a", 3), ("b", 1)]


@pytest.mark.parametrize(
    "shape",
    [
        "size: 10ms, emit: close",
        "size: 10ms, emit: every, every: 5ms",
        "shape: sliding, size: 10ms, emit: close",
        "shape: session, gap: 10ms, emit: close",
        "shape: unbounded, emit: update",
    ],
)
def test_keys_of_two_spellings_are_two_groups_in_one_step_as_in_several(shape: str) -> None:
    """0.0 and -0.0 are equal, and their bytes, which choose partitions and name groups, are not."""
    topology = compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w: {{type: window, key: double(k), {shape}, fields: {{n: {{function: count}}}}}}
connections: [start -> w]
""")
    whole, cut = (TopologyDriver(topology, nodes=registry(), step_rows=rows) for rows in (9, 1))
    for driver in (whole, cut):
        items = [{"k": k} for k in (0.0, -0.0, 0.0, 5.0)]
        driver.feed("start", items, keys=[None] * 4, times_ms=[0, 1, 2, 100], end=False)
    assert str(whole.items("w", "out")) == str(cut.items("w", "out"))


def test_a_step_that_failed_leaves_no_values_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = ran([(1, "a", 1)], "shape: unbounded, emit: every, every: 10ms")
    driver.commit()

    def unreadable(*_: object) -> list[tuple[int, bytes]]:
        raise StateBroken("a block cannot be read")

    items = [{"k": "a", "n": 2}, {"k": "a", "n": 4}]
    with monkeypatch.context() as patched:
        patched.setattr(StoreTimers, "due", unreadable)
        with pytest.raises(StateBroken):
            driver.feed("start", items, keys=[None] * 2, times_ms=[12, 35], end=False)
    for store in driver.stores.values():
        store.abort()
    driver.feed("start", [{"k": "b", "n": 0}], keys=[None], times_ms=[60], end=False)
    assert sums(driver) == [("a", 1)]


def test_what_is_taken_back_tells_spellings_apart_too() -> None:
    topology = compiled("""
workflow: w
nodes:
  start: {type: event, topic: in, format: json}
  old: {type: filter, when: long(n) < 0}
  new: {type: filter, when: long(n) > 0}
  w: {type: window, key: double(k), shape: unbounded, emit: update, fields: {n: {function: count}}}
connections: [start -> old -> w.gone, start -> new -> w.in]
""")
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("start", [{"k": k, "n": 1} for k in (0.0, -0.0, 0.0)], keys=[None] * 3, end=False)
    assert [i["n"] for i in driver.items("w", "out")] == [1, 1, 2]  # type: ignore[index, call-overload]
