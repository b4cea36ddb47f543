"""KafkaLog: Apache Kafka as a log (contract: `sdk.log.Log`). Works with Kafka 2.5 and newer.

Where Kafka leaves a choice:
- The end of a partition is its last stable offset. What lies behind it belongs to open transactions.
- Transaction markers and aborted records take offsets too. They count to the batch before them; where a read begins
  with them and nothing follows, it returns one batch without records that covers them.
- A commit is seen at once by whoever looks through the log that committed; others see it a moment later.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamflow.logs.kafka.appender import KafkaAppender
from streamflow.logs.kafka.cluster import Cluster
from streamflow.logs.kafka.fetcher import Fetcher
from streamflow.logs.kafka.groups import Groups
from streamflow.logs.kafka.health import PartitionHealth, health
from streamflow.logs.kafka.options import KafkaOptions, parse_address
from streamflow.logs.kafka.positions import Offsets
from streamflow.logs.kafka.producer import KafkaProducer
from streamflow.logs.kafka.reader import Reader
from streamflow.logs.kafka.retry import Patience, Unanswered
from streamflow.logs.kafka.session import Session
from streamflow.logs.kafka.settled import Settled
from streamflow.logs.kafka.topics import Topics
from streamflow.logs.kafka.wire import Wire
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import LogError, OffsetOutOfRange, UsageError
from streamflow.sdk.log import Appender, Producer, RecordBatch, TopicInfo, TopicSpec

_PRODUCER_CONNECTIONS: Final = 16  # more producers share them


class _Opened:
    """The parts of an open log."""

    def __init__(self, wire: Wire, options: KafkaOptions) -> None:
        self.wire = wire
        self.cluster = Cluster(wire, options.retry_ms)
        self.offsets = Offsets(self.cluster)
        self.settled = Settled(self.cluster, self.offsets)
        self.groups = Groups(self.cluster)
        self.topics = Topics(
            self.cluster, timeout_ms=options.request_timeout_ms, replication_factor=options.replication_factor
        )
        self.fetcher = Fetcher(self.cluster, options)
        self.reader = Reader(self.fetcher, self.offsets, self.settled, options.retry_ms)


class KafkaLog:
    """A log on a Kafka cluster. `address`: kafka://HOST:PORT[,HOST:PORT][?option=value].

    Options come from `options`, else from the address, then the environment (see `KafkaOptions`).
    """

    def __init__(self, address: str, *, options: KafkaOptions | None = None) -> None:
        self._servers, given = parse_address(address)
        if options is not None and given:
            raise UsageError("options of the Kafka log are given twice.", mend="In the address, or as an argument.")
        self._options = options or KafkaOptions.make(**given)
        self._address = address
        self._opened: _Opened | None = None
        self._producers = itertools.count()

    @property
    def address(self) -> str:
        return self._address

    @property
    def options(self) -> KafkaOptions:
        return self._options

    def client_settings(self) -> dict[str, Any]:
        """Arguments for another client of aiokafka on the same cluster: servers, security, time-outs."""
        options = self._options
        settings: dict[str, Any] = {
            "bootstrap_servers": self._servers,
            "client_id": options.client_id,
            "request_timeout_ms": options.request_timeout_ms,
            "metadata_max_age_ms": options.metadata_max_age_ms,
            "security_protocol": options.security_protocol,
            "ssl_context": options.ssl_context(),
        }
        if options.security_protocol.startswith("SASL"):
            settings["sasl_mechanism"] = options.sasl_mechanism
            settings["sasl_plain_username"] = options.sasl_username
            settings["sasl_plain_password"] = options.sasl_password.get_secret_value()
        return settings

    async def open(self) -> None:
        """Connect. Raises LogUnavailable, naming what each server answered."""
        if self._opened is not None:
            return
        wire = Wire(self.client_settings())
        limit_ms, where = self._options.connect_timeout_ms, ", ".join(self._servers)
        patience = Patience(f"connect to {where}", limit_ms, option="connect_timeout_ms")
        try:
            while True:
                try:
                    await wire.start()
                    break
                except Unanswered as error:
                    await patience.pause(f"{error.why} (spoken to by {self._options.spoken})")
        except BaseException:
            await wire.stop()
            raise
        self._opened = _Opened(wire, self._options)

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.fetcher.stop()
            await opened.settled.wait_for_all()
            await opened.wire.stop()

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        return await self._need().topics.create(spec)

    async def delete_topic(self, name: str) -> None:
        opened = self._need()
        await opened.topics.delete(name)
        opened.fetcher.drop_topic(name)
        opened.settled.forget(name)
        # The brokers forget these offsets too, but some time later, when the name may be in use again.
        for group, offsets in (await opened.groups.all()).items():
            if gone := [at for at in offsets if at.topic == name]:
                await opened.groups.forget(group, gone)

    async def topics(self) -> Mapping[str, TopicInfo]:
        return await self._need().topics.all()

    async def topic_differences(self, spec: TopicSpec) -> Mapping[str, tuple[str, str | None]]:
        """Settings of an existing topic that are not as `spec` has them: name -> (wanted, found)."""
        return await self._need().topics.differences(spec)

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        opened = self._need()
        start, end = await asyncio.gather(opened.offsets.start(at), opened.offsets.end(at))
        if opened.settled.pending(at, end):
            await opened.settled.wait(at)
            end = await opened.offsets.end(at)
        return start, end

    async def written_end(self, at: TopicPartition) -> int:
        """Behind the last record of a partition, those of open transactions too: nobody may read them yet, and they may
        be dropped. Where it is the end that `offsets` gives, no transaction is open there.
        """
        return await self._need().offsets.written_end(at)

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        await self.offsets(at)  # until what this log committed is there
        return await self._need().reader.offset_for_time(at, timestamp_ms)

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        return await self._need().reader.read(at, offset, size_bytes_max)

    async def wait(self, positions: Mapping[TopicPartition, int], *, timeout_ms: int) -> None:
        await self._need().reader.wait(positions, timeout_ms)

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        if before < 0:
            raise OffsetOutOfRange(f"{at}: offset {before} is negative.", mend="Offsets begin with 0.")
        opened = self._need()
        await opened.topics.delete_records(at, before)
        opened.fetcher.drop_partition(at)

    async def producer(self, transactional_id: str) -> Producer:
        if not transactional_id:
            raise UsageError("a transactional id is empty.", mend="Name it after the task.")
        opened, options = self._need(), self._options
        session = Session(
            opened.cluster,
            transactional_id,
            timeout_ms=options.transaction_timeout_ms,
            request_timeout_ms=options.request_timeout_ms,
            slot=f"producer-{next(self._producers) % _PRODUCER_CONNECTIONS}",
        )
        await session.begin()
        return KafkaProducer(
            opened.cluster,
            session,
            opened.settled,
            compression=options.compression,
            bytes_max=options.transaction_bytes_max,
        )

    async def appender(self, name: str) -> Appender:
        opened, options = self._need(), self._options
        session = Session(
            opened.cluster, name, transactional=False, timeout_ms=options.transaction_timeout_ms,
            request_timeout_ms=options.request_timeout_ms,
            slot=f"producer-{next(self._producers) % _PRODUCER_CONNECTIONS}",
        )  # fmt: skip
        return KafkaAppender(opened.cluster, session, compression=options.compression)

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        return await self._need().groups.committed(group, partitions)

    async def groups(self) -> Mapping[str, Mapping[TopicPartition, Committed]]:
        return await self._need().groups.all()

    async def members(self, group: str) -> list[str]:
        """Who is at work in a group; nobody where there is no such group."""
        return await self._need().groups.members(group)

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        await self._need().groups.set(group, offsets)

    def health(self) -> list[PartitionHealth]:
        """Who reads what, how far it is, and who is stuck and why."""
        return health(self._need().fetcher.feeds(), time.monotonic())

    def _need(self) -> _Opened:
        if self._opened is None:
            raise LogError(f"{self._address}: the log is not open.", mend="Open it before use.")
        return self._opened
