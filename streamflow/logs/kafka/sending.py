"""Sending record batches: to each leader what it leads, one batch per partition and request, in order, until taken.

A broker knows a repeated batch by its sequence number, so whatever was not answered is simply sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streamflow.logs.kafka.cluster import Again, Cluster, refused
from streamflow.logs.kafka.codes import FENCED, LATER, LEADER_MOVED, Code, name_of
from streamflow.logs.kafka.retry import Patience, Unanswered
from streamflow.logs.kafka.session import LOST, Session
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import LogError, LogUnavailable

_REQUEST_BYTES_MAX: Final = 16 << 20  # brokers refuse more than socket.request.max.bytes, 100 MiB by default
_TOO_LARGE: Final = frozenset({Code.MESSAGE_TOO_LARGE, Code.RECORD_LIST_TOO_LARGE})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record batch as stored, but for its offset."""

    data: bytes
    count: int
    next_sequence: int


Queues = Mapping[TopicPartition, list[Outgoing]]
Sent = Callable[[TopicPartition, Outgoing, int], None]


async def send(cluster: Cluster, session: Session, queues: Queues, sent: Sent) -> None:
    """Empty the queues; `sent(partition, batch, base offset)` for each batch that was taken.

    Raises Fenced, CommitUnknown (given up, or the broker knows another transaction), UnknownTopic, LogError.
    """
    patience = Patience("send record batches", session.retry_ms)
    while any(queues.values()):
        why = ""
        by_leader: dict[int, list[TopicPartition]] = {}
        for at, queue in queues.items():
            if queue:
                try:
                    by_leader.setdefault(await cluster.leader_of(at), []).append(at)
                except (Again, Unanswered) as error:
                    why = error.why
        rounds = [_to_leader(cluster, session, node, queues, mine, sent) for node, mine in by_leader.items()]
        results = await asyncio.gather(*rounds, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            why = result or why
        if why:
            try:
                await patience.pause(why)
            except LogUnavailable as error:
                raise session.lost(error.message) from error


async def _to_leader(
    cluster: Cluster, session: Session, node: int, queues: Queues, partitions: list[TopicPartition], sent: Sent
) -> str:
    """Send as long as this leader takes everything. Returns why it did not, or nothing."""
    while True:
        request: dict[TopicPartition, bytes] = {}
        size = 0
        for at in partitions:
            if queues[at] and (not request or size + len(queues[at][0].data) <= _REQUEST_BYTES_MAX):
                request[at] = queues[at][0].data
                size += len(request[at])
        if not request:
            return ""
        try:
            answers = await session.produce(node, request)
        except Unanswered as error:
            cluster.wire.stale()
            return error.why
        why = ""
        for at, data in request.items():
            code, offset = answers[at]
            if code == Code.NONE and offset >= 0:
                sent(at, queues[at].pop(0), offset)
            else:
                why = _judge(cluster, session, at, code, len(data))
        if why:
            return why


def _judge(cluster: Cluster, session: Session, at: TopicPartition, code: int, size_bytes: int) -> str:
    """Why to send again; raises where that is of no use."""
    what = f"write to {at}"
    if code in LEADER_MOVED or code in LATER or code == Code.UNKNOWN_TOPIC_OR_PARTITION:
        cluster.wire.stale()
        return f"{what}: {name_of(code)}"
    if code in FENCED:
        raise session.fenced()
    if code in _TOO_LARGE:
        raise LogError(
            f"{what}: Kafka refuses a record batch of {size_bytes} bytes.",
            mend=f"Raise max.message.bytes of topic {at.topic!r}, or write smaller batches.",
        )
    if code == Code.INVALID_TIMESTAMP:
        raise LogError(
            f"{what}: Kafka refuses the time of a record.",
            mend=f"Set message.timestamp.before.max.ms and .after.max.ms of topic {at.topic!r} to {2**63 - 1}.",
        )
    if code == Code.INVALID_RECORD:
        raise LogError(f"{what}: Kafka refuses a record.", mend="A compacted topic takes no records without a key.")
    if code in LOST or code in (Code.NONE, Code.DUPLICATE_SEQUENCE_NUMBER):
        raise session.lost(f"{what}: {name_of(code)}")
    raise refused(what, code)
