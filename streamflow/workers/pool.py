"""The threads of a process that compute, shared by the workflows in it: in proportion to their weights, while several
have something to compute.

A job is a step of a task, or a part of one, and is never broken off: it is bounded by `step_bytes_max`. What is shared
is time in these threads, measured by the clock, since whoever waits in one occupies it as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from streamflow.workers.fair_queue import FairQueue, Flow, Taken

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class PoolFigures:
    """What one workflow had of a pool."""

    jobs: int = 0
    compute_s: float = 0.0
    waited_s: float = 0.0  # of all jobs, for a thread


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    future: Future[Any]
    since_s: float
    figures: PoolFigures


class Pool:
    """At most `threads` threads, started as they are needed. Close it by using it in a `with`."""

    def __init__(self, threads: int, *, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self.threads = threads
        self._clock_s = clock_s
        self._queue: FairQueue[_Job] = FairQueue()
        self._lock = threading.Lock()  # of the queue, the figures and `_open`
        self._turns: SimpleQueue[bool] = SimpleQueue()  # one for each job that waits; False ends a thread
        self._running: list[threading.Thread] = []
        self._open = 0  # jobs that wait or run
        self._closed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def executor(self, workflow: str, weight: int = 1) -> PoolExecutor:
        """What runs the jobs of one workflow."""
        with self._lock:
            return PoolExecutor(self, self._queue.join(workflow, weight))

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        with self._lock:
            self._closed = True
        for _ in self._running:
            self._turns.put(False)  # behind the turns of all jobs
        for thread in self._running:
            thread.join()

    def submit(self, flow: Flow[_Job], figures: PoolFigures, work: Callable[[], T]) -> Future[T]:
        """Have it done by a thread. Raises RuntimeError when the pool is closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._queue.push(flow, _Job(work, future, self._clock_s(), figures))
            figures.jobs += 1
            self._turns.put(True)
            self._open += 1
            if len(self._running) < min(self._open, self.threads):
                thread = threading.Thread(target=self._work, name=f"streamflow_{len(self._running)}")
                self._running.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            job, begun_s = taken.job, self._clock_s()
            try:
                if not job.future.set_running_or_notify_cancel():
                    self._over(taken, begun_s)
                    continue
                try:
                    result = job.work()
                except BaseException as error:
                    self._over(taken, begun_s)
                    job.future.set_exception(error)
                else:
                    self._over(taken, begun_s)
                    job.future.set_result(result)
                    del result
            finally:
                del taken, job  # a thread that waits keeps no rows in memory

    def _take(self) -> Taken[_Job] | None:
        """What is next; waits for it. None: there is no more to come."""
        if not self._turns.get():
            return None
        with self._lock:
            return self._queue.pop()

    def _over(self, taken: Taken[_Job], begun_s: float) -> None:
        took_s = self._clock_s() - begun_s
        with self._lock:
            self._open -= 1
            self._queue.done(taken, took_s)
            taken.job.figures.compute_s += took_s
            taken.job.figures.waited_s += begun_s - taken.job.since_s


class PoolExecutor(Executor):
    """The pool as one workflow sees it; shutting it down leaves the pool as it is."""

    def __init__(self, pool: Pool, flow: Flow[_Job]) -> None:
        self._pool, self._flow = pool, flow
        self.figures = PoolFigures()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        work: Callable[[], T] = partial(fn, *args, **kwargs) if args or kwargs else fn
        return self._pool.submit(self._flow, self.figures, work)
