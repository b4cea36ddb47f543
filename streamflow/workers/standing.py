"""Where each task of this process stands, told when SIGUSR1 asks for it: what one looks at when nothing moves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from streamflow.runtime.task import Task
from streamflow.sdk.events import Logger
from streamflow.workers.driver import Driver

_log = Logger(__name__)
_FRAMES_MAX, _CALLS_MAX = 40, 8
_listening: list[Callable[[], list[Driver]]] = []  # of the workflows that run in this process


@contextlib.contextmanager
def told_on_signal(drivers: Callable[[], list[Driver]]) -> Iterator[None]:
    """Until the end of the block SIGUSR1 has a line logged for each driver. Does nothing outside the main thread."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGUSR1, lambda: tell([d for known in _listening for d in known()]))
    except (NotImplementedError, RuntimeError, ValueError):  # another thread's loop hears no signals
        yield
        return
    _listening.append(drivers)
    try:
        yield
    finally:
        _listening.remove(drivers)
        if not _listening:
            loop.remove_signal_handler(signal.SIGUSR1)


def tell(drivers: list[Driver]) -> None:
    """Log where each of these stands, and what the threads of this process are at."""
    now_s = time.monotonic()
    for thread in threading.enumerate():
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is not None:
            _log.warning("thread_stands", thread=thread.name, at=" < ".join(_called(frame)))
    for driver in drivers:
        task = driver.task
        places = {str(at): position for at, position in task.positions.items()} if isinstance(task, Task) else {}
        _log.warning(
            "task_stands", task=task.name, state=driver.state, since_s=round(now_s - driver.moved_s, 3),
            pending=task.has_pending, positions=places, awaits=" < ".join(_awaits(driver.job)),
        )  # fmt: skip


def _called(frame: FrameType | None) -> list[str]:
    """The innermost functions of a thread, as function:line."""
    found: list[str] = []
    while frame is not None and len(found) < _CALLS_MAX:
        found.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return found


def _awaits(job: asyncio.Task[None] | None) -> list[str]:
    """What a job awaits, innermost first, as function:line."""
    if job is None or job.done():
        return ["nothing: it has ended"]
    found: list[str] = []
    at: object = job.get_coro()
    while at is not None and len(found) < _FRAMES_MAX:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None)
        if frame is not None:
            found.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        if isinstance(at, asyncio.Task):
            at = at.get_coro()
        else:
            at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None) or _task_of(at)
    return found[::-1]


def _task_of(waiter: object) -> object:
    """The task that a future's iterator waits for, if it is one."""
    for found in gc.get_referents(waiter):
        if isinstance(found, asyncio.Task) and not found.done():
            return found
    return None
