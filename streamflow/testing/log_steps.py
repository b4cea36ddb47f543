"""Steps that tests of logs are made of: a topic with a name of its own, a commit, everything a partition holds."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from streamflow.codecs.records import Record, from_records, records
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import TopicExists
from streamflow.sdk.log import Log, NewBatch, Producer, TopicInfo, TopicSpec

MakeLog = Callable[[], Log]
Scenario = Callable[[Log], Coroutine[Any, Any, None]]
READ_BYTES = 1 << 20
WAIT_MS = 10_000  # an upper bound that a sound log never needs


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def batch(*values: str, time_ms: int = 1_000) -> NewBatch:
    """A batch with a record per value, keys equal to values, times counting up from `time_ms`."""
    return from_records([Record(0, time_ms + i, v.encode(), v.encode(), []) for i, v in enumerate(values)])


@asynccontextmanager
async def opened(*logs: Log) -> AsyncIterator[None]:
    """The logs, open."""
    for log in logs:
        await log.open()
    try:
        yield
    finally:
        for log in reversed(logs):
            await log.close()


async def new_topic(log: Log, partitions: int = 1, **config: str) -> TopicPartition:
    """Partition 0 of a new topic; `config` with underscores for dots."""
    spec = TopicSpec(
        name=unique("topic"), partitions=partitions, config={k.replace("_", "."): v for k, v in config.items()}
    )
    await log.create_topic(spec)
    return TopicPartition(spec.name, 0)


async def put(producer: Producer, at: TopicPartition, *batches: NewBatch) -> int:
    """Commit batches in one transaction; the end offset."""
    await producer.begin()
    await producer.append(at, batches)
    return (await producer.commit())[at]


async def all_records(log: Log, at: TopicPartition, offset: int | None = None) -> list[Record]:
    """Every committed record from `offset` on (default: the log start)."""
    start, end = await log.offsets(at)
    offset = start if offset is None else offset
    found: list[Record] = []
    position = offset
    while position < end:
        batches = await log.read(at, position, size_bytes_max=READ_BYTES)
        if not batches:
            break
        for one in batches:
            found += [r for r in records(one) if r.offset >= offset]
            position = one.last_offset + 1
    return found


async def values(log: Log, at: TopicPartition, offset: int | None = None) -> list[str]:
    return [(r.value or b"").decode() for r in await all_records(log, at, offset)]


def run(make_log: MakeLog, scenario: Scenario) -> None:
    """Run a scenario on one open log."""

    async def body() -> None:
        log = make_log()
        async with opened(log):
            await scenario(log)

    asyncio.run(asyncio.wait_for(body(), 120))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Poll a condition that a remote log may need a moment for; the scenario's own limit ends it."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def gone(log: Log, topic: str) -> bool:
    return topic not in await log.topics()


async def known(log: Log, topic: str) -> bool:
    return topic in await log.topics()


async def made_again(log: Log, spec: TopicSpec) -> TopicInfo:
    while True:
        try:
            return await log.create_topic(spec)
        except TopicExists:  # deletion is not through everywhere
            await asyncio.sleep(0.01)
