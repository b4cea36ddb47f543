"""Cluster: asks the right broker (leader, coordinator), and again when it has moved or is away, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from streamflow.logs.kafka.codes import AGAIN, COORDINATOR_MOVED, LEADER_MOVED, Code, name_of
from streamflow.logs.kafka.retry import Patience, Unanswered
from streamflow.logs.kafka.wire import MAIN, FindCoordinatorRequest, Slot, Wire
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogError, UnknownTopic

GROUP: Final = 0
TRANSACTION: Final = 1
COORDINATION: Final[Slot] = "coordination"
# Brokers learn of a new topic one after the other: it is unknown only when it stays so for a moment.
_UNKNOWN_PAUSES_S: Final = (0.0, 0.05, 0.15, 0.3)

_T = TypeVar("_T")
_AUTHORIZATION: Final = {
    Code.TOPIC_AUTHORIZATION_FAILED: "topic",
    Code.GROUP_AUTHORIZATION_FAILED: "group",
    Code.CLUSTER_AUTHORIZATION_FAILED: "cluster",
    Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
}


class Again(Exception):
    """The answer was: not now, or not here. Ask again after a pause."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def unknown_topic(at: TopicPartition | str) -> UnknownTopic:
    if isinstance(at, str):
        return UnknownTopic(f"there is no topic {at!r}.", mend="Create it, or check its name with `streamflow topics`.")
    return UnknownTopic(
        f"there is no partition {at.partition} of a topic {at.topic!r}.",
        mend="Create the topic, or check its name with `streamflow topics`.",
    )


def refused(what: str, code: int, detail: str | None = None) -> LogError:
    """The error for a code that no retry mends."""
    denied = _AUTHORIZATION.get(Code(code)) if code in Code.__members__.values() else None
    return LogError(
        f"{what}: Kafka refuses with {name_of(code)}{f' ({detail})' if detail else ''}.",
        mend=f"Let this user act on the {denied} (Kafka's ACLs)." if denied else "",
    )


class Cluster:
    """Requests with their retries. `retry_ms` bounds each operation."""

    def __init__(self, wire: Wire, retry_ms: int) -> None:
        self.wire, self.retry_ms = wire, retry_ms

    async def repeat(self, what: str, once: Callable[[], Awaitable[_T]], *, retry_ms: int | None = None) -> _T:
        """Run `once` until it raises neither Again nor Unanswered. Raises LogUnavailable, and what `once` raises."""
        patience = Patience(what, self.retry_ms if retry_ms is None else retry_ms)
        while True:
            try:
                return await once()
            except Again as error:
                why = error.why
            except Unanswered as error:
                why = error.why
                self.wire.stale()
            await patience.pause(why)

    async def leader_of(self, at: TopicPartition) -> int:
        """The broker that leads a partition. Raises UnknownTopic, Again."""
        node = self.wire.leader(at)
        if node is None:
            for pause_s in _UNKNOWN_PAUSES_S:
                await asyncio.sleep(pause_s)
                if not await self.wire.refresh():
                    raise Again("no broker gives the metadata of the cluster")
                node = self.wire.leader(at)
                if node is not None:
                    break
            else:
                raise unknown_topic(at)
        if node < 0:
            self.wire.stale()
            raise Again(f"{at} has no leader")
        return node

    async def call_leader(self, at: TopicPartition, request: Any, slot: Slot = MAIN) -> Any:
        return await self.wire.call(await self.leader_of(at), request, slot)

    async def coordinator_of(self, kind: int, key: str) -> int:
        """The coordinator of a group or transactional id. Raises Again, Unanswered."""
        known = self.wire.coordinator(kind, key)
        if known is not None:
            return known
        answer = await self.wire.call(self.wire.any_node(), FindCoordinatorRequest(key, kind))
        what = f"coordinator of {key!r}"
        if answer.error_code != Code.NONE:
            self.check(what, answer.error_code)
        self.wire.set_coordinator(kind, key, answer.coordinator_id)
        return int(answer.coordinator_id)

    async def call_coordinator(self, kind: int, key: str, request: Any, slot: Slot = COORDINATION) -> Any:
        node = await self.coordinator_of(kind, key)
        try:
            return await self.wire.call(node, request, slot)
        except Unanswered:
            self.wire.set_coordinator(kind, key, None)
            raise

    def check(
        self,
        what: str,
        code: int,
        *,
        at: TopicPartition | str | None = None,
        coordinator: tuple[int, str] | None = None,
    ) -> None:
        """Pass on NONE; raise Again where a retry mends it, else the error that fits."""
        if code == Code.NONE:
            return
        if code in COORDINATOR_MOVED:
            if coordinator is not None:
                self.wire.set_coordinator(*coordinator, None)
            raise Again(f"{what}: {name_of(code)}")
        if code in LEADER_MOVED:
            self.wire.stale()
            raise Again(f"{what}: {name_of(code)}")
        if code in AGAIN:
            raise Again(f"{what}: {name_of(code)}")
        if code == Code.UNKNOWN_TOPIC_OR_PARTITION and isinstance(at, TopicPartition):
            # Gone, or this broker has not heard of it yet: fresh metadata decides, in `leader_of`.
            self.wire.stale()
            raise Again(f"{what}: {name_of(code)}")
        if code in (Code.UNKNOWN_TOPIC_OR_PARTITION, Code.INVALID_TOPIC) and at is not None:
            raise unknown_topic(at)
        raise refused(what, code)


def by_topic(partitions: Sequence[TopicPartition]) -> list[tuple[str, list[int]]]:
    """Partitions as Kafka's requests have them."""
    topics: dict[str, list[int]] = {}
    for at in partitions:
        topics.setdefault(at.topic, []).append(at.partition)
    return list(topics.items())


def by_topic_with(values: Mapping[TopicPartition, tuple[Any, ...]]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """(partition, *value) by topic, as Kafka's requests have them."""
    topics: dict[str, list[tuple[Any, ...]]] = {}
    for at, value in values.items():
        topics.setdefault(at.topic, []).append((at.partition, *value))
    return list(topics.items())
