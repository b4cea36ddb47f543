"""Timers over a store: order, removal, and that they follow the store's transactions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.operators.timers import StoreTimers
from streamflow.sdk.errors import StateError
from streamflow.state.memory import MemoryStore

TIMES = st.integers(min_value=-(2**63), max_value=2**63 - 1) | st.integers(min_value=-3, max_value=3)
KEYS = st.binary(max_size=3) | st.just(b"\xff" * 9)


@given(st.lists(st.tuples(TIMES, KEYS), max_size=20), TIMES, st.sampled_from([b"", b"t", b"\xff", b"a\xff\xff"]))
def test_due_gives_each_timer_once_in_order(timers: list[tuple[int, bytes]], now_ms: int, prefix: bytes) -> None:
    store = MemoryStore()
    under = StoreTimers(store, prefix=prefix)
    for at_ms, key in timers:
        under.set(at_ms, key)
    expected = sorted(set(timers))
    assert under.next_ms() == (expected[0][0] if expected else None)
    assert under.due(now_ms) == [t for t in expected if t[0] <= now_ms]
    assert under.due(now_ms) == []
    assert under.due(2**63 - 1) == [t for t in expected if t[0] > now_ms]
    assert under.next_ms() is None


def test_a_cancelled_timer_does_not_fire() -> None:
    timers = StoreTimers(MemoryStore())
    timers.set(5, b"a")
    timers.set(5, b"b")
    timers.cancel(5, b"a")
    timers.cancel(6, b"b")  # none there
    assert timers.due(10) == [(5, b"b")]


def test_an_abort_brings_fired_timers_back_and_takes_new_ones_away() -> None:
    store = MemoryStore()
    timers = StoreTimers(store)
    timers.set(5, b"a")
    store.commit(1)
    timers.set(4, b"new")
    assert timers.due(5) == [(4, b"new"), (5, b"a")]
    store.abort()
    assert timers.due(5) == [(5, b"a")]


def test_timers_leave_the_rest_of_their_store_alone() -> None:
    store = MemoryStore()
    for key in (b"", b"s", b"t", b"u"):
        store.put(key + b"-entry" if key != b"t" else b"s\xff", b"x")
    timers = StoreTimers(store, prefix=b"t")
    timers.set(2**63 - 1, b"\xff")
    assert timers.due(2**63 - 1) == [(2**63 - 1, b"\xff")]
    assert len(store) == 4


def test_a_time_that_is_no_64_bit_number_is_refused() -> None:
    with pytest.raises(StateError, match="64 bits"):
        StoreTimers(MemoryStore()).set(2**63, b"")
