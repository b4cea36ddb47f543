"""Calls with a limit of time: what is late is dropped, threads that are held are counted and bounded."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamflow.runtime.late_calls import CallLog, LateCalls
from streamflow.runtime.timed_calls import HELD_MAX, TimedCalls, _Call, _Held
from streamflow.sdk.errors import CallLate


def settles(true: Callable[[], bool]) -> bool:
    """Whether it becomes true before long: threads end by themselves."""
    for _ in range(2_000):
        if true():
            return True
        time.sleep(0.001)
    return False


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_values_and_errors_come_back_as_they_are() -> None:
    log = CallLog()

    def half(n: int) -> float:
        return 1 / n

    timed = TimedCalls("node", half, 60_000, log)
    assert timed(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        timed(0)
    threads = {t.ident for t in threading.enumerate() if t.name == "streamflow-call-node"}
    assert timed(4) == 0.25
    assert {t.ident for t in threading.enumerate() if t.name == "streamflow-call-node"} == threads, "one thread serves"
    assert log.take() == ()


def test_a_time_out_of_the_function_itself_is_an_error_of_the_function() -> None:
    def raises() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        TimedCalls("node", raises, 60_000, CallLog())()


def test_what_returns_late_reaches_nobody(gate: threading.Event) -> None:
    log = CallLog()

    def waits(n: int) -> int:
        if n == 1:
            gate.wait()
        return n

    timed = TimedCalls("node", waits, 20, log)
    assert timed(0) == 0
    with pytest.raises(CallLate, match="not over within 20 ms") as late:
        timed(1)
    assert late.value.item_code == "timed_out"
    assert timed.held == 1
    assert timed(2) == 2, "another thread serves what comes behind"
    gate.set()
    assert settles(lambda: timed.held == 0)
    assert timed(3) == 3
    assert log.take() == (LateCalls(node="node", first=1),)


def test_so_many_threads_are_held_and_no_more(gate: threading.Event) -> None:
    log, called = CallLog(), []

    def waits(n: int) -> int:
        called.append(n)
        gate.wait()
        return n

    timed = TimedCalls("held", waits, 5, log)
    codes = []
    for n in range(HELD_MAX + 5):
        with pytest.raises(CallLate) as late:
            timed(n)
        codes.append(late.value.item_code)
    assert codes == ["timed_out"] * HELD_MAX + ["calls_held"] * 5
    assert called == list(range(HELD_MAX)), "the others were not called"
    assert log.take() == (
        LateCalls(node="held", first=0, count=HELD_MAX),
        LateCalls(node="held", first=HELD_MAX, count=5, made=False),
    )
    gate.set()
    assert settles(lambda: timed.held == 0)
    assert settles(lambda: not any(t.name == "streamflow-call-held" for t in threading.enumerate()))
    called.clear()
    assert timed(1) == 1, "once they have returned it goes on"


def test_a_replay_makes_no_call_that_was_late_and_waits_for_the_others() -> None:
    log, called = CallLog(), []

    def slow(n: int) -> int:
        called.append(n)
        time.sleep(0.02)
        return n

    timed = TimedCalls("node", slow, 1, log)
    told = (LateCalls(node="node", first=1, count=2), LateCalls(node="node", first=3, made=False))
    log.tell(told)
    codes = []
    for n in range(5):
        try:
            codes.append(timed(n))
        except CallLate as error:
            codes.append(error.item_code)
    assert codes == [0, "timed_out", "timed_out", "calls_held", 4]
    assert called == [0, 4]
    assert log.take() == told, "a replay tells its journal the same"
    log.tell(())
    assert timed(0) == 0, "numbers begin anew with each step"


def test_a_node_that_is_dropped_ends_its_thread() -> None:
    timed = TimedCalls("dropped", lambda: 1, 60_000, CallLog())
    assert timed() == 1
    assert any(t.name == "streamflow-call-dropped" for t in threading.enumerate())
    del timed
    gc.collect()
    assert settles(lambda: not any(t.name == "streamflow-call-dropped" for t in threading.enumerate()))


def test_a_call_that_was_given_up_before_its_thread_got_to_it_is_not_made() -> None:
    called: list[int] = []
    held = _Held()
    call = _Call(called.append, (1,), held)
    assert not call.wait(0.001)
    assert held.count == 1
    call.run()
    assert (called, held.count) == ([], 0)
