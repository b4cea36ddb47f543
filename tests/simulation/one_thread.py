"""One thread for everything, so that a seed decides about all orders in which things happen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from streamflow.logs.embedded import EmbeddedLog
from streamflow.logs.embedded.frame import Change
from streamflow.logs.embedded.writer import Job

T = TypeVar("T")


class Inline(ThreadPoolExecutor):
    """Runs what is submitted at once, where it is submitted."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # belongs to who waits for it
            done.set_exception(error)
        return done


def in_one_thread(work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work` on a loop of its own that hands nothing to other threads."""

    async def run() -> T:
        asyncio.get_running_loop().set_default_executor(Inline(1))
        return await work()

    return asyncio.run(run())


def in_turn(log: EmbeddedLog) -> None:
    """Nothing else goes on while the log's writer commits. `log` is open."""
    writer = log._need().writer
    submit = writer.submit

    def at_once(job: Job) -> Future[Change]:
        future = submit(job)
        wait([future])
        return future

    writer.submit = at_once  # type: ignore[method-assign]


def incarnations(seed: int) -> Callable[[], str]:
    """Names of topics' incarnations: keys are partitioned by them, among other things."""
    choose = random.Random(f"incarnations {seed}")
    return lambda: f"{choose.getrandbits(128):032x}"
