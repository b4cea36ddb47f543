"""Calls of a user's function that may take only so long, made on threads that can be left behind.

Python cannot end a thread. A call whose time is over is given up: its row fails, and whatever it returns later is
dropped where it returns. It holds its thread until then. HELD_MAX are held at most by a node of a task; as long as so
many are, further calls fail at once without being made. Threads are daemons: a call that never returns does not keep
the process from its end.

A call that holds Python's interpreter lock (native code that does not release it) cannot be timed by anyone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

from streamflow.runtime.late_calls import CallLog
from streamflow.sdk.errors import CallLate

HELD_MAX: Final = 8


class _Held:
    """How many calls that were given up have not returned."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.count += count


class _Call:
    """One call, by two threads. Whoever is first decides: it is done, or it was given up."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], held: _Held) -> None:
        self._function, self._args, self._held = function, args, held
        self._lock, self._over = threading.Lock(), threading.Lock()
        self._done = self.given_up = False
        self._returned: Any = None
        self._raised: BaseException | None = None
        self._over.acquire()

    def run(self) -> None:
        with self._lock:
            if self._dropped():  # before this thread got to it: nobody would hear of what it does
                return
        try:
            returned, raised = self._function(*self._args), None
        except BaseException as error:  # handed to who waits, where it is raised
            returned, raised = None, error
        with self._lock:
            if self._dropped():
                return
            self._returned, self._raised, self._done = returned, raised, True
        self._over.release()

    def _dropped(self) -> bool:
        """Whether it was given up: then it holds its thread no longer."""
        if self.given_up:
            self._held.add(-1)
        return self.given_up

    def wait(self, timeout_s: float) -> bool:
        """Until it is done. False: it is given up, and nothing of it comes back any more."""
        if self._over.acquire(timeout=timeout_s):
            return True
        with self._lock:
            if not self._done:
                self.given_up = True
                self._held.add(1)
            return self._done

    def result(self) -> Any:
        if self._raised is not None:
            raise self._raised
        return self._returned


def _serve(calls: SimpleQueue[_Call | None]) -> None:
    """A thread: one call after the other, until one was given up."""
    while (call := calls.get()) is not None:
        call.run()
        if call.given_up:
            return
        del call  # what it holds is not kept until the next comes


class TimedCalls:
    """A function whose calls raise CallLate when they are not over after `timeout_ms`. One caller at a time.

    In a replay (`log.told`) those raise it that the journal tells of, without being made, and others take any time.
    """

    def __init__(self, node: str, function: Callable[..., Any], timeout_ms: int, log: CallLog) -> None:
        self._node, self._function, self._timeout_ms, self._log = node, function, timeout_ms, log
        self._held = _Held()
        self._thread: SimpleQueue[_Call | None] | None = None  # its calls
        self._end: weakref.finalize[..., TimedCalls] | None = None

    @property
    def held(self) -> int:
        """Calls that were given up and have not returned."""
        return self._held.count

    def __call__(self, *args: Any) -> Any:
        log, node = self._log, self._node
        number = log.number(node)
        if log.told is not None:
            made = log.told.get((node, number))
            if made is None:
                return self._function(*args)
            raise self._late(number, made=made)
        if self._held.count >= HELD_MAX:
            raise self._late(number, made=False)
        if self._thread is None:
            self._thread = self._begin()
        call = _Call(self._function, args, self._held)
        self._thread.put(call)
        if call.wait(self._timeout_ms / 1_000):
            return call.result()
        self._leave()
        raise self._late(number, made=True)

    def _late(self, number: int, *, made: bool) -> CallLate:
        self._log.was_late(self._node, number, made=made)
        if made:
            return CallLate(f"the call was not over within {self._timeout_ms} ms (timeout).", item_code="timed_out")
        return CallLate(
            f"not called: {HELD_MAX} calls of this node whose time was over have not returned (timeout).",
            item_code="calls_held",
        )

    def _begin(self) -> SimpleQueue[_Call | None]:
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(calls,), name=f"streamflow-call-{self._node}", daemon=True).start()
        self._end = weakref.finalize(self, calls.put, None)  # who is done with the node ends its thread
        self._end.atexit = False
        return calls

    def _leave(self) -> None:
        """The thread goes on alone, and ends when its call returns."""
        assert self._end is not None, "a call was under way"
        self._end.detach()
        self._thread = self._end = None
