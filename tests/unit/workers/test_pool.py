"""The threads that workflows share: what a job gives or raises, who is next, and how the pool ends."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from streamflow.workers.pool import Pool


def test_a_job_gives_its_result_or_its_error() -> None:
    def fails() -> None:
        raise KeyError("x")

    with Pool(2) as pool:
        executor = pool.executor("a")
        assert executor.submit(divmod, 7, 2).result(10) == (3, 1)
        with pytest.raises(KeyError):
            executor.submit(fails).result(10)
        assert executor.figures.jobs == 2
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(fails)


def test_jobs_of_a_flood_do_not_hold_up_another_workflow() -> None:
    """Method: one thread is held while twenty jobs of one workflow wait, then one of another; who is next then?"""
    go, order = threading.Event(), list[str]()
    with Pool(1) as pool:
        flood, light = pool.executor("flood"), pool.executor("light")
        first = flood.submit(go.wait, 30)
        rest: list[Future[None]] = [flood.submit(order.append, "flood") for _ in range(20)]
        rest.append(light.submit(order.append, "light"))
        go.set()
        assert first.result(10)
        for job in rest:
            job.result(10)
    assert order.index("light") <= 1


def test_as_many_threads_as_there_are_jobs_up_to_the_limit() -> None:
    """Method: jobs that wait for each other need a thread each."""
    together = threading.Barrier(3, timeout=30)
    with Pool(3) as pool:
        executor = pool.executor("a")
        jobs = [executor.submit(together.wait) for _ in range(3)]
        assert sorted(job.result(30) for job in jobs) == [0, 1, 2]


def test_a_job_that_is_cancelled_before_its_turn_is_left_out() -> None:
    go, done = threading.Event(), list[int]()
    with Pool(1) as pool:
        executor = pool.executor("a")
        executor.submit(go.wait, 30)
        cancelled, kept = executor.submit(done.append, 1), executor.submit(done.append, 2)
        assert cancelled.cancel()
        go.set()
        kept.result(10)
    assert done == [2]


def test_closing_finishes_what_waits() -> None:
    done = list[int]()
    with Pool(1) as pool:
        executor = pool.executor("a")
        for n in range(50):
            executor.submit(done.append, n)
    assert done == list(range(50))
