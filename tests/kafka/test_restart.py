"""A broker that is killed and comes back: readers and producers go on by themselves, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streamflow.logs import KafkaLog, KafkaOptions
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import CommitUnknown, LogUnavailable
from streamflow.sdk.log import NewBatch, Producer
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import batch, new_topic, opened, put, unique, until, values
from tests.kafka.lost_markers import excused

COUNT = 120
KILL_AFTER = (20, 60)
OPTIONS = KafkaOptions(request_timeout_ms=5_000, retry_ms=60_000, fetch_wait_ms=50)


@pytest.fixture
def server(needs_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("restarted"), short_lived=True) as server:
        yield server


class Copier:
    """The smallest task: copies record by record, each in a transaction together with the next position."""

    def __init__(self, log: KafkaLog, source: TopicPartition, target: TopicPartition) -> None:
        self.log, self.source, self.target, self.group = log, source, target, target.topic
        self.done = self.recoveries = 0

    async def run(self, end: int) -> None:
        producer, position = await self._take_over()
        while position < end:
            found = await self.log.read(self.source, position, size_bytes_max=1)
            if not found:
                await self.log.wait({self.source: position}, timeout_ms=1_000)
                continue
            try:
                for one in found:
                    after = one.last_offset + 1
                    await producer.begin()
                    if one.count:
                        copied = NewBatch(
                            count=one.count,
                            body=one.body,
                            base_timestamp_ms=one.base_timestamp_ms,
                            max_timestamp_ms=one.max_timestamp_ms,
                        )
                        await producer.append(self.target, [copied])
                    await producer.send_offsets(self.group, {self.source: Committed(after)})
                    await producer.commit()
                    position, self.done = after, self.done + 1
            except CommitUnknown:
                self.recoveries += 1
                await producer.close()
                producer, position = await self._take_over()
        await producer.close()

    async def _take_over(self) -> tuple[Producer, int]:
        producer = await self.log.producer(self.group)
        committed = await self.log.committed(self.group, [self.source])
        return producer, committed[self.source].offset if committed else 0


@pytest.mark.timeout(300)
def test_a_copy_goes_on_over_two_kills_of_the_broker(server: KafkaServer) -> None:
    async def body() -> None:
        log = KafkaLog(server.address, options=OPTIONS)
        async with opened(log):
            source, target = await new_topic(log, retention_ms="-1"), await new_topic(log, retention_ms="-1")
            producer = await log.producer(unique("p"))
            for i in range(COUNT):
                await put(producer, source, batch(f"{i:03}"))
            _, end = await log.offsets(source)
            await producer.close()
            copier = Copier(log, source, target)
            running = asyncio.create_task(copier.run(end))
            for after in KILL_AFTER:
                await until(lambda after=after: _reached(copier, running, after))
                await asyncio.to_thread(server.kill)
                await until(lambda: _stuck(log, source, running))
                await asyncio.to_thread(server.start)
            await running
            assert await values(log, target) == [f"{i:03}" for i in range(COUNT)]
            assert {h.state for h in log.health() if h.at == target} == {"idle"}
            assert copier.done >= COUNT

    with excused(server.address):
        asyncio.run(asyncio.wait_for(body(), 290))


@pytest.mark.timeout(300)
def test_who_waits_is_woken_after_a_restart_and_who_reads_gives_up_in_time(server: KafkaServer) -> None:
    async def body() -> None:
        log = KafkaLog(server.address, options=OPTIONS)
        hasty = KafkaLog(
            server.address, options=KafkaOptions(request_timeout_ms=500, retry_ms=300, connect_timeout_ms=300)
        )
        async with opened(log, hasty):
            at = await new_topic(log, retention_ms="-1")
            end = await put(await log.producer(unique("p")), at, batch("before"))
            waiting = asyncio.create_task(log.wait({at: (await log.offsets(at))[1]}, timeout_ms=200_000))
            await until(lambda: _answered(log))
            await hasty.offsets(at)
            await asyncio.to_thread(server.kill)
            for call in (
                lambda: hasty.offsets(at),
                lambda: hasty.read(at, 0, size_bytes_max=1),
                lambda: hasty.committed("g", [at]),
                lambda: hasty.producer("p"),
                hasty.topics,
            ):
                with pytest.raises(LogUnavailable, match=r"given up after .* s: .*(127\.0\.0\.1|broker)"):
                    await call()
            again = KafkaLog(server.address, options=hasty.options)
            with pytest.raises(
                LogUnavailable, match=rf"connect to {server.bootstrap}: .*Connect call failed.*CONNECT_TIMEOUT_MS"
            ):
                await again.open()
            await asyncio.to_thread(server.start)
            await put(await log.producer(unique("p")), at, batch("after"))
            await waiting
            assert await values(log, at) == ["before", "after"]
            assert (await log.offsets(at))[1] > end

    asyncio.run(asyncio.wait_for(body(), 290))


async def _reached(copier: Copier, running: asyncio.Task[None], count: int) -> bool:
    if running.done():
        running.result()
    return copier.done >= count


async def _stuck(log: KafkaLog, at: TopicPartition, running: asyncio.Task[None]) -> bool:
    """The broker is noticed to be gone: by the reader, or by the producer, which then makes no progress."""
    if running.done():
        running.result()
    await log.wait({at: 1 << 40}, timeout_ms=20)  # somebody asks, whatever the task is doing
    stuck = [h for h in log.health() if h.state == "stuck"]
    assert all(h.reason for h in stuck)
    return bool(stuck)


async def _answered(log: KafkaLog) -> bool:
    return any(h.lag >= 0 for h in log.health())
