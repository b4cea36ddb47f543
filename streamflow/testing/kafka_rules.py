"""Which of Kafka's requests a proxy interferes with, and how: `KafkaProxy.on` makes these rules."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from streamflow.testing.tcp_link import Cut

At = Literal["request", "response"]
Do = Literal["pass", "hold", "drop", "cut"]
WAIT_TIMEOUT_S = 30


class Api(IntEnum):
    """Kafka's requests by their api key: those that a streaming client sends."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


@dataclass(frozen=True, slots=True)
class Request:
    """The header of one request; `client_id` is empty where there is none."""

    api: int
    version: int
    correlation_id: int
    client_id: str


class Rule:
    """What is to happen to some requests, or to their answers."""

    def __init__(
        self,
        api: Api,
        at: At,
        do: Do,
        *,
        for_ms: float | None = None,
        times: int | None = 1,
        skip: int = 0,
        chance: float = 1.0,
        client_id: str | None = None,
    ) -> None:
        self._api, self._at, self._do, self._client_id = api, at, do, client_id
        self._for_ms, self._times, self._skip, self._chance = for_ms, times, skip, chance
        self._caught = 0
        self._changed = threading.Condition()
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"{self._do} {self._api.name} {self._at}"

    @property
    def caught(self) -> int:
        """How many frames it was applied to so far."""
        with self._changed:
            return self._caught

    def wait(self, count: int = 1, *, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Block until it was applied to `count` frames. In a test with an event loop: `asyncio.to_thread(rule.wait)`.

        A frame to be held is held then; one to be lost is as good as lost. Raises TimeoutError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._caught >= count, timeout_s):
                raise TimeoutError(f"{self!r}: {self._caught} of {count} came within {timeout_s} s")

    def release(self) -> None:
        """Let go what is held, and do nothing from now on."""
        with self._changed:
            self._times = 0
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._released.set)

    def takes(self, request: Request, at: At, draw: random.Random) -> bool:
        """Whether it is to be applied to this frame; it counts as applied then. For the proxy, on its loop."""
        if (request.api, at) != (self._api, self._at) or self._client_id not in (None, request.client_id):
            return False
        with self._changed:
            if self._times is not None and self._caught >= self._times:
                return False
            if self._skip > 0:
                self._skip -= 1
                return False
            if self._chance < 1 and draw.random() >= self._chance:
                return False
            self._caught += 1
            self._loop = asyncio.get_running_loop()
            self._changed.notify_all()
        return True

    async def passes(self) -> bool:
        """Wait as long as the frame is to be held; whether it then goes on. Raises Cut. For the proxy, on its loop."""
        if self._do == "cut":
            raise Cut
        if self._do == "hold":
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._for_ms is None else self._for_ms / 1000):
                    await self._released.wait()
        return self._do != "drop"
