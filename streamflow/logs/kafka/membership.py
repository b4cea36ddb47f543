"""Membership in a group of workers: who is there, and what each of them shall run. Nothing is fetched through it.

It is Kafka's own group protocol, spoken by aiokafka's coordinator with an assignor that is handed in. What is assigned
are partitions of topics that stand for tasks; positions are no business of this group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from streamflow.logs.kafka.wire import Client
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogUnavailable
from streamflow.sdk.events import Logger

_log = Logger(__name__)
_CHECK_S = 0.5
_PROTOCOL_VERSION = 0


@dataclass(frozen=True, slots=True)
class Dealt:
    """Partitions of each topic for a member, and whatever else it is to know."""

    partitions: Mapping[str, list[int]]
    note: bytes = b""


class Assignor(Protocol):
    """How partitions are dealt out. One object a member."""

    name: str

    def said(self) -> bytes:
        """What this member tells the others about itself."""
        ...

    def assign(self, topics: Mapping[str, int], members: Mapping[str, bytes]) -> Mapping[str, Dealt]:
        """What each member gets, given what the members said. The leader of the group is asked."""
        ...

    def told(self, note: bytes) -> None:
        """The note to this member; its partitions follow."""
        ...


class Membership:
    """One member of a group. `revoking` is awaited before each rebalance, `assigned` after it, on the event loop."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        group: str,
        topics: Iterable[str],
        assignor: Assignor,
        revoking: Callable[[], Awaitable[None]],
        assigned: Callable[[frozenset[TopicPartition]], Awaitable[None]],
        session_timeout_ms: int = 10_000,
        heartbeat_interval_ms: int = 1_000,
        rebalance_timeout_ms: int = 60_000,
    ) -> None:
        """`settings`: how to reach the brokers, as keywords of aiokafka's client. `topics` exist."""
        self._settings, self._group, self._topics = dict(settings), group, sorted(set(topics))
        self._assignor = _Adapter(assignor)
        self._revoking, self._assigned = revoking, assigned
        self._timeouts = {
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": heartbeat_interval_ms,
            "rebalance_timeout_ms": rebalance_timeout_ms,
        }
        self._client: Client | None = None
        self._coordinator: GroupCoordinator | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._trouble: asyncio.Future[None] | None = None

    @property
    def generation(self) -> int:
        """Of the last rebalance; -1 before the first."""
        return -1 if self._coordinator is None else int(self._coordinator.generation)

    async def join(self) -> None:
        """Become a member; `assigned` is called as soon as the group has settled. Raises LogUnavailable."""
        self._trouble = asyncio.get_running_loop().create_future()
        self._client = await self._reach()
        subscription = _NeverIdle()
        subscription.register_fetch_waiters([])
        self._coordinator = GroupCoordinator(
            self._client,
            subscription,
            group_id=self._group,
            enable_auto_commit=False,
            assignors=(self._assignor,),
            **self._timeouts,
        )
        subscription.subscribe(set(self._topics), listener=_Listener(self._revoking, self._assigned, self._trouble))
        self._watcher = asyncio.create_task(self._watch(), name=f"group {self._group}")

    async def _reach(self) -> Client:
        """A client that knows brokers and the partitions of all topics, by whose numbers tasks are dealt out.

        Brokers that come up, or of which the controller has not heard for a while, name neither. aiokafka's coordinator
        would give up at once; so this asks again, for as long as a rebalance may take.
        """
        limit_ms = self._timeouts["rebalance_timeout_ms"]
        client = Client(**self._settings)
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                await client.bootstrap()
                await client.set_topics(self._topics)
                while not all(client.cluster.partitions_for_topic(topic) for topic in self._topics):
                    _log.warning("group_unknown", group=self._group, error="no broker names all topics yet")
                    await asyncio.sleep(_CHECK_S)
                    # Without a known broker a client that lost its first connection finds no other: begin anew.
                    await client.close()
                    client = Client(**self._settings)
                    await client.bootstrap()
                    await client.set_topics(self._topics)
        except (KafkaError, TimeoutError) as error:
            await client.close()
            why = str(error) or f"no broker named its topics within {limit_ms / 1_000:g} s"
            raise LogUnavailable(f"the group {self._group!r} cannot be joined: {why}.") from error
        return client

    async def leave(self) -> None:
        """Leave at once, so that the others need not wait for the session to time out."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._coordinator is not None:
            await self._coordinator.close()
        if self._client is not None:
            await self._client.close()

    def rejoin(self) -> None:
        """Ask the group to deal out again: something here shows that this member is not what it thinks it is."""
        if self._coordinator is not None:
            self._coordinator.request_rejoin()

    async def failed(self) -> None:
        """Never returns; raises what ended the membership: an error in a callback, or one of the group's own."""
        assert self._trouble is not None, "join() comes first"
        await asyncio.shield(self._trouble)

    async def _watch(self) -> None:
        """The coordinator stops at an error until somebody has seen it."""
        assert self._coordinator is not None
        assert self._trouble is not None
        while not self._trouble.done():
            await asyncio.sleep(_CHECK_S)
            try:
                self._coordinator.check_errors()
            except KafkaError as error:
                if not error.retriable:
                    self._trouble.set_exception(LogUnavailable(f"group {self._group!r}: {error}."))
                    return
                _log.warning("group_error", group=self._group, error=str(error))


class _NeverIdle(SubscriptionState):  # type: ignore[misc]
    """Nothing is fetched through this subscription, which is no reason to leave the group."""

    @property
    def fetcher_idle_time(self) -> float:
        return 0.0


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka logs what a listener raises and goes on; here it ends the membership."""

    def __init__(
        self,
        revoking: Callable[[], Awaitable[None]],
        assigned: Callable[[frozenset[TopicPartition]], Awaitable[None]],
        trouble: asyncio.Future[None],
    ) -> None:
        self._revoking, self._assigned, self._trouble = revoking, assigned, trouble

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        await self._tell(self._revoking())

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        await self._tell(self._assigned(frozenset(TopicPartition(at.topic, at.partition) for at in assigned)))

    async def _tell(self, call: Awaitable[None]) -> None:
        try:
            await call
        except Exception as error:
            if not self._trouble.done():
                self._trouble.set_exception(error)
            raise


class _Adapter:
    """An `Assignor` in the form that aiokafka's coordinator asks for."""

    def __init__(self, assignor: Assignor) -> None:
        self._assignor = assignor
        self.name = assignor.name

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(_PROTOCOL_VERSION, sorted(topics), self._assignor.said())

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        topics = {topic for metadata in members.values() for topic in metadata.subscription}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        dealt = self._assignor.assign(counts, {member: m.user_data or b"" for member, m in members.items()})
        return {
            member: ConsumerProtocolMemberAssignment(_PROTOCOL_VERSION, sorted(given.partitions.items()), given.note)
            for member, given in dealt.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        self._assignor.told(assignment.user_data or b"")
