"""The one module of the log that touches aiokafka: connections, metadata, and the requests that this log sends.

aiokafka's client keeps connections (with SASL and TLS), negotiates versions and follows the metadata. Three requests
that it lacks are defined here on its schema types: topics with their UUIDs (KIP-516), stable offsets (KIP-447), and
forgetting offsets. `tests/unit/kafka/test_contract.py` fails on a release of aiokafka that does not fit this module.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import create_conn
from aiokafka.errors import (
    CorrelationIdError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from streamflow.logs.kafka.retry import Unanswered
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogError

__all__ = [
    "AddOffsetsToTxnRequest",
    "AddPartitionsToTxnRequest",
    "Client",
    "CreateTopicsRequest",
    "DeleteRecordsRequest",
    "DeleteTopicsRequest",
    "DescribeConfigsRequest",
    "DescribeGroupsRequest",
    "EndTxnRequest",
    "FetchRequest",
    "FetchedPart",
    "FindCoordinatorRequest",
    "InitProducerIdRequest",
    "ListGroupsRequest",
    "OffsetCommitRequest",
    "OffsetDeleteRequest",
    "OffsetRequest",
    "ProduceRequest",
    "StableOffsetsRequest",
    "TopicsRequest",
    "TxnOffsetCommitRequest",
    "Wire",
    "bear_breaks",
    "fetched_parts",
    "listed_topics",
]

# What matters of aiokafka's warnings is told as errors and health; who configures logging still gets them all.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

Slot: TypeAlias = str  # a broker answers one connection's requests in order, so what waits long has its own
MAIN: Final[Slot] = "main"
_TAGS: Final = ("tags", TaggedFields)


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc, unused-ignore]
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


def _topics_answer(*incarnation: tuple[str, Any]) -> Schema:
    partition = CompactArray(
        ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
        ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)), ("offline_replicas", CompactArray(Int32)),
        _TAGS,
    )  # fmt: skip
    return Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", CompactString()), ("port", Int32),
                                 ("rack", CompactString()), _TAGS)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topics", CompactArray(
            ("error_code", Int16), ("name", CompactString()), *incarnation, ("is_internal", Boolean),
            ("partitions", partition), ("authorized_operations", Int32), _TAGS)),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )  # fmt: skip


def _topics_question(*incarnation: tuple[str, Any]) -> Schema:
    return Schema(
        ("topics", CompactArray(*incarnation, ("name", CompactString()), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _TopicsResponse9(Response):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION = 3, 9
    SCHEMA = _topics_answer()


class _TopicsRequest9(RequestStruct):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 3, 9, True, _TopicsResponse9
    SCHEMA = _topics_question()


class _TopicsResponse10(Response):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION = 3, 10
    SCHEMA = _topics_answer(("topic_id", _Uuid))


class _TopicsRequest10(RequestStruct):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 3, 10, True, _TopicsResponse10
    SCHEMA = _topics_question(("topic_id", _Uuid))


class TopicsRequest(Request[_TopicsRequest9 | _TopicsRequest10]):  # type: ignore[misc, unused-ignore]
    """Metadata of `names` (None: of all topics), with their UUIDs since Kafka 2.8. Never creates one."""

    API_KEY = 3

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = names

    def build(self, request_struct_class: type[Any]) -> Any:
        id_ = (uuid.UUID(int=0),) if request_struct_class.API_VERSION >= 10 else ()
        topics: Any = None if self._names is None else [(*id_, name, {}) for name in self._names]
        return request_struct_class(topics, False, False, False, {})


def listed_topics(response: Any) -> list[tuple[int, str, str, bool, int]]:
    """(error code, name, incarnation, whether it is Kafka's own, partitions) of each topic of a TopicsRequest's answer.

    Before Kafka 2.8 topics have no UUID: all incarnations of a name are the same there.
    """
    out = []
    for code, name, *rest in response.topics:
        topic_id = rest.pop(0).hex if response.API_VERSION >= 10 else ""
        out.append((code, name, topic_id, rest[0], len(rest[1])))
    return out


class _StableOffsetsResponse(Response):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION = 9, 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("topics", CompactArray(
            ("name", CompactString()),
            ("partitions", CompactArray(
                ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", CompactString()),
                ("error_code", Int16), _TAGS)),
            _TAGS)),
        ("error_code", Int16),
        _TAGS,
    )  # fmt: skip


class _StableOffsetsRequest(RequestStruct):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 9, 7, True, _StableOffsetsResponse
    SCHEMA = Schema(
        ("group", CompactString()),
        ("topics", CompactArray(("name", CompactString()), ("partitions", CompactArray(Int32)), _TAGS)),
        ("require_stable", Boolean),
        _TAGS,
    )


class StableOffsetsRequest(Request[_StableOffsetsRequest]):  # type: ignore[misc, unused-ignore]
    """Committed offsets of a group, of `topics` or (None) of all; `stable`: an error while a transaction holds some."""

    API_KEY = 9

    def __init__(self, group: str, topics: Sequence[tuple[str, Sequence[int]]] | None, *, stable: bool) -> None:
        self._group, self._topics, self._stable = group, topics, stable

    def build(self, request_struct_class: type[_StableOffsetsRequest]) -> _StableOffsetsRequest:
        topics: Any = None if self._topics is None else [(name, list(numbers), {}) for name, numbers in self._topics]
        return request_struct_class(self._group, topics, self._stable, {})


class _OffsetDeleteResponse(Response):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION = 47, 0
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(("name", String()), ("partitions", Array(("partition", Int32), ("error_code", Int16))))),
    )


class _OffsetDeleteRequest(RequestStruct):  # type: ignore[misc, unused-ignore]
    API_KEY, API_VERSION, RESPONSE_TYPE = 47, 0, _OffsetDeleteResponse
    SCHEMA = Schema(("group", String()), ("topics", Array(("name", String()), ("partitions", Array(Int32)))))


class OffsetDeleteRequest(Request[_OffsetDeleteRequest]):  # type: ignore[misc, unused-ignore]
    """Let a group forget offsets. Kafka 2.4 and newer."""

    API_KEY = 47

    def __init__(self, group: str, topics: Sequence[tuple[str, Sequence[int]]]) -> None:
        self._group, self._topics = group, topics

    def build(self, request_struct_class: type[_OffsetDeleteRequest]) -> _OffsetDeleteRequest:
        return request_struct_class(self._group, list(self._topics))


class FetchedPart(NamedTuple):
    """What a fetch brought of one partition."""

    at: TopicPartition
    code: int
    end: int  # the last stable offset
    high: int  # the high watermark
    aborted: list[tuple[int, int]]  # (producer id, first offset) of aborted transactions
    stored: bytes  # record batches; the last may be cut


def fetched_parts(response: Any) -> list[FetchedPart]:
    """The answer to a fetch, partition by partition, whatever its version (4 and later)."""
    out = []
    for topic, partitions in response.topics:
        for number, code, high, end, *rest in partitions:
            aborted = rest[-3 if response.API_VERSION >= 11 else -2]
            out.append(FetchedPart(TopicPartition(topic, number), code, end, high, aborted or [], rest[-1] or b""))
    return out


class Client(AIOKafkaClient):  # type: ignore[misc, unused-ignore]
    """aiokafka's client, with two mends for connections that break.

    On uvloop it would raise RuntimeError where one breaks just before a request. And nothing but its table keeps a
    connection alive, whose end is what tells those who wait for answers: where another request finds it broken first
    and puts a new one in its place, they would wait in vain until their time-outs.
    """

    async def send(self, node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        await self.ready(node_id, group=group)
        held = self._conns.get((node_id, group))
        try:
            return await super().send(node_id, request, group=group)
        except RuntimeError as error:
            if isinstance(error, KafkaError) or "closed" not in str(error):
                raise
            raise KafkaConnectionError(str(error)) from error
        finally:
            del held


def bear_breaks(owner: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Have a consumer or producer of aiokafka, not yet started, bear what `Client` bears."""
    client = owner._client if isinstance(owner, AIOKafkaConsumer) else owner.client
    if type(client) is AIOKafkaClient:
        client.__class__ = Client


class Wire:
    """Connections to the brokers of one cluster. Everything raises Unanswered when a request has no answer."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """`settings` are aiokafka's own names, as `KafkaLog.client_settings` gives them."""
        self._settings = settings
        self._timeout_s = settings["request_timeout_ms"] / 1000
        self._client = Client(**settings)
        self._coordinators: dict[tuple[int, str], int] = {}

    async def start(self) -> None:
        """Find the cluster. Raises Unanswered, with the reason that the first broker gave."""
        try:
            await self._client.bootstrap()
        except KafkaConnectionError as error:
            raise Unanswered(await self._why_unreachable(), sent=False) from error

    async def stop(self) -> None:
        await self._client.close()

    async def call(self, node: int, request: Any, slot: Slot = MAIN) -> Any:
        """Send a request to a broker and return its answer. Cancel-safe: an answer that nobody awaits is dropped."""
        try:
            return await self._client.send(node, request, group=slot)
        except NodeNotReadyError as error:
            raise Unanswered(f"no connection to broker {self.name_of(node)}", sent=False) from error
        except RequestTimedOutError as error:
            why = f"broker {self.name_of(node)} did not answer within {self._timeout_s:g} s"
            raise Unanswered(why, sent=True) from error
        except (KafkaConnectionError, CorrelationIdError, KeyError) as error:
            # KeyError: aiokafka looks up a connection that another request's time-out has just removed.
            raise Unanswered(f"the connection to broker {self.name_of(node)} broke", sent=True) from error
        except (IncompatibleBrokerVersion, NotImplementedError) as error:
            raise LogError(
                f"broker {self.name_of(node)} does not know the request {type(request).__name__}: {error}.",
                mend="Use Kafka 2.5 or newer.",
            ) from error

    def name_of(self, node: int) -> str:
        """HOST:PORT of a broker, or its number."""
        broker = self._client.cluster.broker_metadata(node)
        return f"{broker.host}:{broker.port}" if broker is not None else f"number {node}"

    def nodes(self) -> list[int]:
        """The brokers known now."""
        return sorted(b.nodeId for b in self._client.cluster.brokers() if isinstance(b.nodeId, int))

    def any_node(self) -> int:
        node = self._client.get_random_node()
        if not isinstance(node, int):
            raise Unanswered("no broker is known", sent=False)
        return node

    def controller(self) -> int:
        """Where to create and delete topics; any broker passes it on since Kafka 2.x with KRaft."""
        broker = self._client.cluster.controller
        return self.any_node() if broker is None else int(broker.nodeId)

    def leader(self, at: TopicPartition) -> int | None:
        """The broker that leads a partition: -1 when nobody does, None when the partition is not known."""
        node: int | None = self._client.cluster.leader_for_partition(at)
        return node

    def knows_topic(self, name: str) -> bool:
        return self._client.cluster.partitions_for_topic(name) is not None

    def stale(self) -> None:
        """Have the metadata read again, soon."""
        # The result is of no interest here, and a failure must not be reported as never looked at.
        self._client.force_metadata_update().add_done_callback(lambda done: done.cancelled() or done.exception())

    async def refresh(self) -> bool:
        """Read the metadata again now; whether some broker gave it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if await self._client.force_metadata_update():
                    return True
                await self._client.bootstrap()  # no broker known answers: all of them may have moved
                return bool(await self._client.force_metadata_update())
        except (TimeoutError, KafkaConnectionError):
            return False

    def coordinator(self, kind: int, key: str) -> int | None:
        """The coordinator of a group (kind 0) or transactional id (kind 1), as last found."""
        return self._coordinators.get((kind, key))

    def set_coordinator(self, kind: int, key: str, node: int | None) -> None:
        if node is None:
            self._coordinators.pop((kind, key), None)
        else:
            self._coordinators[kind, key] = node

    async def _why_unreachable(self) -> str:
        """aiokafka only logs the reason; ask each server once more for it. No reason quotes a password."""
        reasons = []
        own = {
            k: v
            for k, v in self._settings.items()
            if k not in ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms")
        }
        for host, port, _ in self._client.hosts:
            try:
                connection = await create_conn(host, port, **own)
                connection.close()
            except (OSError, KafkaError, TimeoutError) as error:
                reasons.append(f"{host}:{port}: {str(error) or type(error).__name__}")
            else:
                reasons.append(f"{host}:{port}: answers, but gave no metadata")
        return "; ".join(reasons)
