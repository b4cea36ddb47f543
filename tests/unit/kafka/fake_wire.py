"""A wire without a cluster: two brokers, one partition with records, and answers that a test may replace.

`moves` are answers to come before the true ones: error codes, or Unanswered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from streamflow.logs.kafka.cluster import Cluster
from streamflow.logs.kafka.codes import Code
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.wire import MAIN, Slot
from streamflow.model.positions import TopicPartition

AT = TopicPartition("t", 0)
Move = Code | Unanswered


class FakeWire:
    """What `Cluster`, `Session`, `Offsets` and `Fetcher` ask of a `Wire`, from memory."""

    def __init__(self) -> None:
        self.leaders: dict[TopicPartition, int] = {AT: 1}
        self.leaders_fresh: dict[TopicPartition, int] | None = None  # what the next look at the metadata tells
        self.coordinator_now = 1
        self.stored = b""
        self.end = self.high = 0
        self.aborted: list[tuple[int, int]] = []
        self.moves: dict[str, deque[Move]] = defaultdict(deque)  # by name of the request
        self.asked: list[tuple[str, int, Slot]] = []  # name of the request, broker, connection
        self.refreshes = 0
        self.reachable = True
        self.arrival = asyncio.Event()  # set it to end requests that wait for records
        self._coordinators: dict[tuple[int, str], int] = {}

    def will(self, request: str, *moves: Move) -> None:
        self.moves[request].extend(moves)

    def requests(self, name: str) -> list[int]:
        """The brokers that were asked for this, in order."""
        return [node for asked, node, _ in self.asked if asked == name]

    async def call(self, node: int, request: Any, slot: Slot = MAIN) -> Any:
        name = type(request).__name__.removesuffix("Request")
        self.asked.append((name, node, slot))
        await asyncio.sleep(0)
        if not self.reachable:
            raise Unanswered(f"no connection to broker {node}", sent=False)
        move = self.moves[name].popleft() if self.moves[name] else Code.NONE
        if isinstance(move, Unanswered):
            raise move
        return await getattr(self, f"_{name.lower()}")(node, request, move)

    async def _fetch(self, node: int, request: Any, code: Code) -> Any:
        if request._max_wait_ms and not code:
            await self.arrival.wait()
        if self.leaders[AT] != node and not code:
            code = Code.NOT_LEADER_OR_FOLLOWER
        rows = []
        for topic, partitions in request.topics:
            for number, _, _ in partitions:
                stored = b"" if code else self.stored
                rows.append((topic, [(number, code, self.high, self.end, 0, self.aborted, -1, stored)]))
        return SimpleNamespace(API_VERSION=11, topics=rows)

    async def _offset(self, node: int, request: Any, code: Code) -> Any:
        ((topic, ((number, timestamp),)),) = request._topics
        return SimpleNamespace(topics=[(topic, [(number, code, -1, 0 if timestamp == -2 else self.end)])])

    async def _findcoordinator(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(error_code=code, coordinator_id=self.coordinator_now)

    async def _initproducerid(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(error_code=self._where(node, code), producer_id=7, producer_epoch=3)

    async def _endtxn(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(error_code=self._where(node, code))

    async def _addoffsetstotxn(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(error_code=self._where(node, code))

    async def _addpartitionstotxn(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(errors=[(t, [(n, self._where(node, code)) for n in ns]) for t, ns in request._topics])

    async def _txnoffsetcommit(self, node: int, request: Any, code: Code) -> Any:
        return SimpleNamespace(
            errors=[(t, [(n, self._where(node, code)) for n, *_ in rows]) for t, rows in request._topics]
        )

    async def _produce(self, node: int, request: Any, code: Code) -> Any:
        topics = []
        for topic, rows in request._topics:
            for number, _ in rows:
                right = self.leaders[TopicPartition(topic, number)] == node
                answer = code or (Code.NONE if right else Code.NOT_LEADER_OR_FOLLOWER)
                topics.append((topic, [(number, answer, -1 if answer else self.end, -1, 0)]))
        return SimpleNamespace(topics=topics)

    def _where(self, node: int, code: Code) -> Code:
        return code or (Code.NONE if node == self.coordinator_now else Code.NOT_COORDINATOR)

    # The rest of a wire

    def name_of(self, node: int) -> str:
        return f"broker-{node}:9092"

    def nodes(self) -> list[int]:
        return [1, 2]

    def any_node(self) -> int:
        return 1

    def leader(self, at: TopicPartition) -> int | None:
        return self.leaders.get(at)

    def stale(self) -> None:
        self._look()

    async def refresh(self) -> bool:
        await asyncio.sleep(0)
        self._look()
        return self.reachable

    def _look(self) -> None:
        self.refreshes += 1
        if self.reachable and self.leaders_fresh is not None:
            self.leaders, self.leaders_fresh = self.leaders_fresh, None

    def coordinator(self, kind: int, key: str) -> int | None:
        return self._coordinators.get((kind, key))

    def set_coordinator(self, kind: int, key: str, node: int | None) -> None:
        if node is None:
            self._coordinators.pop((kind, key), None)
        else:
            self._coordinators[kind, key] = node


def cluster(wire: FakeWire, retry_ms: int = 60_000) -> Cluster:
    return Cluster(wire, retry_ms)  # type: ignore[arg-type]


def names(asked: Sequence[tuple[str, int, Slot]]) -> list[str]:
    return [name for name, _, _ in asked]
