"""The requests of one transactional producer, each with its rule for failures.

A request of the transaction protocol that was sent and not answered may still be carried out later: a second EndTxn
could end a later transaction. So it is never sent again; the producer is lost, and a new one (InitProducerId) settles
what the old one left. An answer that says "not now" is another thing: the broker did nothing, and is asked again.
Produce requests carry sequence numbers and may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from streamflow.codecs.envelope import NO_PRODUCER
from streamflow.logs.kafka.cluster import GROUP, TRANSACTION, Again, Cluster, by_topic, by_topic_with, refused
from streamflow.logs.kafka.codes import COORDINATOR_MOVED, FENCED, LATER, Code, name_of
from streamflow.logs.kafka.retry import Patience, Unanswered
from streamflow.logs.kafka.wire import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    ProduceRequest,
    Slot,
    TxnOffsetCommitRequest,
)
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError, LogUnavailable

_ALL_REPLICAS: Final = -1
_FIRST_PAUSE_S: Final = 0.005  # a transaction that follows another closely waits for its markers, which takes little
# The broker does not know this transaction, or not as we do, or failed within the request: only a new producer can tell
# what became of it.
LOST: Final = frozenset(
    {
        Code.UNKNOWN_SERVER_ERROR,
        Code.OUT_OF_ORDER_SEQUENCE_NUMBER,
        Code.INVALID_TXN_STATE,
        Code.INVALID_PRODUCER_ID_MAPPING,
        Code.UNKNOWN_PRODUCER_ID,
        Code.TRANSACTION_COORDINATOR_FENCED,
        Code.TRANSACTION_ABORTABLE,
    }
)


class Session:
    """A transactional id with the producer id and epoch that it has for now. Not for concurrent use, but where said."""

    def __init__(
        self, cluster: Cluster, name: str, *, timeout_ms: int, request_timeout_ms: int, slot: Slot,
        transactional: bool = True,
    ) -> None:  # fmt: skip
        """Not `transactional`: it only produces, without an id."""
        self.name, self.producer_id, self.epoch = name, NO_PRODUCER, NO_PRODUCER
        self._transactional_id = name if transactional else None
        self._cluster, self._slot = cluster, slot
        self._timeout_ms, self._request_timeout_ms = timeout_ms, request_timeout_ms
        # Past its own time-out the coordinator aborts the transaction: no use in trying for longer.
        self.retry_ms = min(cluster.retry_ms, timeout_ms)

    async def begin(self) -> None:
        """Get producer id and epoch: fences older producers, and waits until what they left is settled."""
        what = f"new producer {self.name!r}"
        request = InitProducerIdRequest(self.name, self._timeout_ms)

        async def once() -> None:
            answer = await self._cluster.call_coordinator(TRANSACTION, self.name, request, self._slot)
            code = answer.error_code
            if code in FENCED:  # two begin at the same time: the later one wins
                raise Again(f"{what}: {name_of(code)}")
            if code == Code.INVALID_TRANSACTION_TIMEOUT:
                raise LogError(
                    f"{what}: the brokers do not allow a transaction time-out of {self._timeout_ms} ms.",
                    mend="Lower STREAMFLOW_KAFKA_TRANSACTION_TIMEOUT_MS, or raise transaction.max.timeout.ms there.",
                )
            self._cluster.check(what, code, coordinator=(TRANSACTION, self.name))
            self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch

        await self._cluster.repeat(what, once)

    async def add_partitions(self, partitions: Sequence[TopicPartition]) -> None:
        request = AddPartitionsToTxnRequest(self.name, self.producer_id, self.epoch, by_topic(partitions))
        await self._transactional(TRANSACTION, self.name, request, "add partitions to the transaction", _worst)

    async def add_group(self, group: str) -> None:
        request = AddOffsetsToTxnRequest(self.name, self.producer_id, self.epoch, group)
        await self._transactional(TRANSACTION, self.name, request, "add a group to the transaction", _one)

    async def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        rows = by_topic_with({at: (c.offset, c.metadata) for at, c in offsets.items()})
        request = TxnOffsetCommitRequest(self.name, group, self.producer_id, self.epoch, rows)
        await self._transactional(GROUP, group, request, f"commit offsets of {group!r}", _worst)

    async def end(self, *, commit: bool) -> None:
        request = EndTxnRequest(self.name, self.producer_id, self.epoch, commit)
        await self._transactional(TRANSACTION, self.name, request, "commit" if commit else "abort", _one)

    async def produce(self, node: int, stored: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, tuple[int, int]]:
        """Send one record batch per partition: (Kafka's code, base offset) of each. May be repeated, and run beside
        others to other partitions. Raises Unanswered.
        """
        topics = by_topic_with({at: (data,) for at, data in stored.items()})
        request = ProduceRequest(self._transactional_id, _ALL_REPLICAS, self._request_timeout_ms, topics)
        answer = await self._cluster.wire.call(node, request, self._slot)
        return {
            TopicPartition(topic, number): (code, offset)
            for topic, rows in answer.topics
            for number, code, offset, *_ in rows
        }

    def fenced(self) -> Fenced:
        return Fenced(
            f"producer {self.name!r} of epoch {self.epoch} was replaced by a newer one.",
            mend="Stop this task: another worker runs it now.",
        )

    def lost(self, why: str) -> CommitUnknown:
        return CommitUnknown(
            f"producer {self.name!r}: {why}.",
            mend="Make a new producer, which settles the outcome, and go on from the committed offsets.",
        )

    async def _transactional(self, kind: int, key: str, request: Any, what: str, code_of: Callable[[Any], int]) -> None:
        """Raises Fenced, CommitUnknown (the producer is lost), LogError (nothing was done)."""
        patience = Patience(what, self.retry_ms, first_s=_FIRST_PAUSE_S)
        while True:
            try:
                node = await self._cluster.coordinator_of(kind, key)
                answer = await self._cluster.wire.call(node, request, self._slot)
            except Again as error:
                why = error.why
            except Unanswered as error:
                why = error.why
                self._cluster.wire.set_coordinator(kind, key, None)
                self._cluster.wire.stale()
                if error.sent:
                    raise self.lost(f"{what}: {why}") from error
            else:
                code = code_of(answer)
                if code == Code.NONE:
                    return
                if code in FENCED:
                    raise self.fenced()
                if code in LOST:
                    raise self.lost(f"{what}: {name_of(code)}")
                if code in COORDINATOR_MOVED:
                    self._cluster.wire.set_coordinator(kind, key, None)
                elif code not in LATER and code != Code.UNKNOWN_TOPIC_OR_PARTITION:
                    raise refused(what, code)
                why = name_of(code)
            try:
                await patience.pause(why)
            except LogUnavailable as error:
                raise self.lost(error.message) from error


def _one(answer: Any) -> int:
    return int(answer.error_code)


def _worst(answer: Any) -> int:
    """The code that decides for all partitions; OPERATION_NOT_ATTEMPTED only tells that another one failed."""
    codes = {int(code) for _, rows in answer.errors for _, code in rows} - {Code.NONE}
    return next(iter(sorted(codes - {Code.OPERATION_NOT_ATTEMPTED}, key=lambda c: c not in FENCED)), Code.NONE)
