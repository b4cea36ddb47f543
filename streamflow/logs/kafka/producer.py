"""KafkaProducer: a transaction is encoded as it grows, and goes to the brokers in few requests when it commits.

A commit is three round trips: partitions and groups are announced; record batches and offsets go out side by side;
the transaction ends. What exceeds `transaction_bytes_max` is sent earlier, so that memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from streamflow.codecs.recordbatch import HEADER_SIZE, build
from streamflow.logs.kafka.cluster import Cluster
from streamflow.logs.kafka.groups import check_offsets
from streamflow.logs.kafka.sending import Outgoing, send
from streamflow.logs.kafka.session import Session
from streamflow.logs.kafka.settled import Settled
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.crash import crash_point
from streamflow.sdk.errors import CommitUnknown, Fenced, LogError, UsageError
from streamflow.sdk.log import Compression, NewBatch

INLINE_BYTES_MAX: Final = 128 << 10  # compressing less than this is quicker than handing it to a thread
_RATIO_MAX: Final = 512  # readers refuse what blows up beyond all measure, so such batches are stored as they are
_BATCH_BYTES_MAX: Final = 64 << 20
_T = TypeVar("_T")
_SEQUENCES: Final = 1 << 31  # then they begin again


@dataclass(slots=True)
class _Transaction:
    """What the open transaction holds."""

    waiting: dict[TopicPartition, list[Outgoing]] = field(default_factory=dict)
    size_bytes: int = 0
    offsets: dict[str, dict[TopicPartition, Committed]] = field(default_factory=dict)
    announced: set[TopicPartition] = field(default_factory=set)
    ends: dict[TopicPartition, int] = field(default_factory=dict)
    reached_brokers: bool = False


class KafkaProducer:
    """The Producer of the Kafka log (contract: `sdk.log.Producer`)."""

    def __init__(
        self, cluster: Cluster, session: Session, settled: Settled, *, compression: Compression, bytes_max: int
    ) -> None:
        self._cluster, self._session, self._settled = cluster, session, settled
        self._compression: Compression = compression
        self._bytes_max = bytes_max
        self._open: _Transaction | None = None
        self._dead: LogError | None = None  # fenced, or lost
        self._closed = False
        self._sequences: dict[TopicPartition, int] = {}  # as the brokers know them
        self._last_ends: dict[TopicPartition, int] = {}  # of the last commit, until its markers are known to be there
        self._ending: asyncio.Task[Any] | None = None  # one whose caller was cancelled may still be under way

    @property
    def transactional_id(self) -> str:
        return self._session.name

    async def begin(self) -> None:
        self._check_usable()
        await self._settle()
        self._check_usable()
        if self._open is not None:
            raise UsageError(
                f"producer {self._session.name!r}: a transaction is open.", mend="Commit or abort it first."
            )
        self._open = _Transaction()

    async def append(self, at: TopicPartition, batches: Sequence[NewBatch]) -> None:
        transaction = self._need_open()
        for batch in batches:
            _check_batch(at, batch)
        await self._cluster.repeat(f"find {at}", lambda: self._cluster.leader_of(at))  # raises UnknownTopic
        queue = transaction.waiting.setdefault(at, [])
        sequence = queue[-1].next_sequence if queue else self._sequences.get(at, 0)
        session, compression = self._session, self._compression

        def encoded() -> list[Outgoing]:
            out, next_sequence = [], sequence
            for batch in batches:
                out.append(_encode(batch, session, compression, next_sequence))
                next_sequence = out[-1].next_sequence
            return out

        total = sum(len(b.body) for b in batches)
        new = encoded() if total <= INLINE_BYTES_MAX else await asyncio.to_thread(encoded)
        if self._open is not transaction:
            raise UsageError(f"producer {session.name!r}: the transaction ended meanwhile.", mend="Append before.")
        queue.extend(new)
        transaction.size_bytes += sum(len(one.data) for one in new)
        if transaction.size_bytes > self._bytes_max:
            await self._guarded(self._flush(transaction))

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        transaction = self._need_open()
        check_offsets(group, offsets)
        if offsets:
            transaction.offsets.setdefault(group, {}).update(offsets)

    async def commit(self) -> Mapping[TopicPartition, int]:
        transaction = self._need_open()
        return await self._guarded(self._commit(transaction))

    async def abort(self) -> None:
        await self._settle()
        transaction, self._open = self._open, None
        if transaction is None or self._dead is not None or not transaction.reached_brokers:
            return
        self._open = transaction
        try:
            await self._guarded(self._end(transaction, commit=False))
        except LogError as error:
            self._dead = self._dead or self._session.lost(error.message)  # `begin` tells

    async def close(self) -> None:
        if not self._closed:
            await self.abort()
            self._closed = True

    # The steps

    async def _commit(self, transaction: _Transaction) -> Mapping[TopicPartition, int]:
        await self._flush(transaction, groups=True)
        if transaction.reached_brokers:
            crash_point("before-end-txn")
            await self._end(transaction, commit=True)
            crash_point("after-end-txn")
        self._open = None
        return transaction.ends

    async def _end(self, transaction: _Transaction, *, commit: bool) -> None:
        await self._session.end(commit=commit)
        self._open = None
        if commit:
            for at, end in transaction.ends.items():
                self._settled.committed(at, end, self._session.producer_id)
            self._last_ends = transaction.ends

    async def _flush(self, transaction: _Transaction, *, groups: bool = False) -> None:
        """Announce and send all that waits; with `groups` the input positions as well."""
        new = [at for at, queue in transaction.waiting.items() if queue and at not in transaction.announced]
        offsets = transaction.offsets if groups else {}
        announcing: list[Coroutine[Any, Any, None]] = [self._session.add_group(group) for group in offsets]
        if new:
            announcing.insert(0, self._session.add_partitions(new))
        if announcing:
            transaction.reached_brokers = True
            await _all(announcing)
            for at in self._last_ends:  # the broker began a new transaction, so the one before is complete
                self._settled.completed(at, self._session.producer_id)
            self._last_ends = {}
            transaction.announced.update(new)
        sending: list[Coroutine[Any, Any, None]] = [
            self._session.commit_offsets(group, rows) for group, rows in offsets.items()
        ]
        if any(transaction.waiting.values()):
            sending.append(send(self._cluster, self._session, transaction.waiting, self._sent))
        if sending:
            await _all(sending)
        transaction.size_bytes = 0

    def _sent(self, at: TopicPartition, one: Outgoing, base_offset: int) -> None:
        assert self._open is not None
        self._sequences[at] = one.next_sequence
        self._open.ends[at] = base_offset + one.count

    async def _guarded(self, step: Coroutine[Any, Any, _T]) -> _T:
        """Run a step to its end even if the caller goes away; remember an end of this producer."""
        ending = asyncio.get_running_loop().create_task(step)
        self._ending = ending
        ending.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            result = await asyncio.shield(ending)
        except (Fenced, CommitUnknown) as error:
            self._dead, self._open = error, None
            raise
        except LogError:
            self._ending = None
            raise
        self._ending = None
        return result

    async def _settle(self) -> None:
        """Wait for a step whose caller went away; its transaction is over, whatever came of it."""
        ending, self._ending = self._ending, None
        if ending is None:
            return
        if not ending.done():
            await asyncio.wait([ending])
        error = None if ending.cancelled() else ending.exception()
        if isinstance(error, (Fenced, CommitUnknown)):
            self._dead, self._open = self._dead or error, None

    def _check_usable(self) -> None:
        if self._closed:
            raise UsageError(f"producer {self._session.name!r} is closed.", mend="Make a new one.")
        if self._dead is not None:
            raise type(self._dead)(self._dead.message, mend=self._dead.mend)

    def _need_open(self) -> _Transaction:
        self._check_usable()
        if self._open is None or self._ending is not None:
            raise UsageError(f"producer {self._session.name!r} has no open transaction.", mend="Call begin first.")
        return self._open


async def _all(steps: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run steps side by side, all of them to their end; raise what is worst: Fenced, then CommitUnknown."""
    if len(steps) == 1:
        await steps[0]
        return
    results = await asyncio.gather(*steps, return_exceptions=True)
    errors = [r for r in results if isinstance(r, BaseException)]
    if errors:
        raise min(errors, key=lambda e: 0 if isinstance(e, Fenced) else 1 if isinstance(e, CommitUnknown) else 2)


def _encode(batch: NewBatch, session: Session, compression: Compression, sequence: int) -> Outgoing:
    stamp: dict[str, Any] = {
        "producer_id": session.producer_id,
        "producer_epoch": session.epoch,
        "base_sequence": sequence,
        "transactional": True,
    }
    return Outgoing(stored(batch, compression, **stamp), batch.count, (sequence + batch.count) % _SEQUENCES)


def stored(batch: NewBatch, compression: Compression, **stamp: Any) -> bytes:
    """A batch as it is sent: compressed, where that is of use and no reader would take it for a bomb."""
    data = build(batch, base_offset=0, compression=compression, **stamp)
    if len(batch.body) > _RATIO_MAX * len(data) or len(data) > len(batch.body) + HEADER_SIZE:
        data = build(batch, base_offset=0, compression="none", **stamp)
    return data


def _check_batch(at: TopicPartition, batch: NewBatch) -> None:
    if batch.count < 1:
        raise UsageError(f"{at}: a record batch of {batch.count} records.", mend="Append at least one record.")
    if len(batch.body) + HEADER_SIZE > _BATCH_BYTES_MAX:
        raise UsageError(
            f"{at}: a record batch of {len(batch.body)} bytes.",
            mend=f"Split it: the limit is {_BATCH_BYTES_MAX} bytes.",
        )
