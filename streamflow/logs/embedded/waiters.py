"""Waking those who wait for records, from whichever thread commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from streamflow.model.positions import TopicPartition


class Waiters:
    """Events of waiting tasks by partition. Tasks of several event loops may wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[TopicPartition, set[_Waiter]] = {}

    @contextmanager
    def waiting(self, partitions: Iterable[TopicPartition]) -> Iterator[asyncio.Event]:
        """An event that is set when one of `partitions` grows."""
        waiter = _Waiter()
        with self._lock:
            for at in partitions:
                self._waiting.setdefault(at, set()).add(waiter)
        try:
            yield waiter.event
        finally:
            with self._lock:
                for at in partitions:
                    waiting = self._waiting.get(at, set())
                    waiting.discard(waiter)
                    if not waiting:
                        self._waiting.pop(at, None)

    def wake(self, grew: Iterable[TopicPartition]) -> None:
        """Tell those who wait for these partitions."""
        if not self._waiting:
            return
        with self._lock:
            woken = {waiter for at in grew for waiter in self._waiting.get(at, ())}
        for waiter in woken:
            waiter.wake()


class _Waiter:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.event.set)
        except RuntimeError:
            if not self._loop.is_closed():  # a loop that is gone waits for nothing
                raise
