"""Runs workflow texts on embedded logs inside this process."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from streamflow.codecs.recordbatch import from_records, records
from streamflow.codecs.records import Record
from streamflow.compiler import compile_document
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.sdk.log import Log, TopicSpec
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workers.embedded import EmbeddedWorker
from streamflow.workers.progress import RunReport
from streamflow.workflow.load import load_text

T = TypeVar("T")
L = TypeVar("L", bound=Log)


def compiled(text: str, folder: Path = Path(), *, nodes: NodeRegistry | None = None) -> Topology:
    """The topology of a workflow text; fails with its findings."""
    document, findings = load_text(text, base_folder=str(folder))
    assert document is not None, findings
    topology, more = compile_document(document, nodes or registry())
    assert topology is not None, [str(f) for f in (*findings, *more)]
    return topology


async def send(log: Log, topic: str, items: Sequence[object], *, partitions: int = 1, batch: int = 100) -> None:
    """JSON items, in turn on each partition, `batch` to a record batch; each one's time is its index."""
    if topic not in await log.topics():
        await log.create_topic(TopicSpec(name=topic, partitions=partitions))
    producer = await log.producer(f"send.{topic}")
    await producer.begin()
    for p in range(partitions):
        mine = [(i, v) for i, v in enumerate(items) if i % partitions == p]
        for at in range(0, len(mine), batch):
            rows = [
                Record(0, i, str(i % 7).encode(), v if isinstance(v, bytes) else json.dumps(v).encode(), [])
                for i, v in mine[at : at + batch]
            ]
            await producer.append(TopicPartition(topic, p), [from_records(rows)])
    await producer.commit()
    await producer.close()


async def run(topology: Topology, log: Log, *, nodes: NodeRegistry | None = None, **options: Any) -> RunReport:
    """Run until the inputs end."""
    return await EmbeddedWorker(topology, log, nodes=nodes or registry(), until_end=True, **options).run()


async def contents(log: Log, topic: str) -> dict[int, list[tuple[Any, ...]]]:
    """Records of a topic by partition: (time, key, value, headers), in order."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for p in range((await log.topics())[topic].partitions):
        at = TopicPartition(topic, p)
        position, end = await log.offsets(at)
        found[p] = []
        while position < end:
            batches = await log.read(at, position, size_bytes_max=1 << 20)
            for batch in batches:
                found[p] += [(r.timestamp_ms, r.key, r.value, tuple(r.headers)) for r in records(batch)]
            position = batches[-1].last_offset + 1
    return found


async def values(log: Log, topic: str) -> list[Any]:
    """JSON values of a topic, partition after partition."""
    return [json.loads(v) for rows in (await contents(log, topic)).values() for _, _, v, _ in rows]


async def with_log(folder: Path, work: Callable[[EmbeddedLog], Awaitable[T]], **options: Any) -> T:
    return await opened(EmbeddedLog(folder, **options), work)


async def opened(log: L, work: Callable[[L], Awaitable[T]]) -> T:
    """The result of work on a log that is open as long as it takes."""
    await log.open()
    try:
        return await work(log)
    finally:
        await log.close()


def only(found: Mapping[int, list[Any]]) -> list[Any]:
    """The records of a topic with one partition."""
    assert list(found) == [0]
    return found[0]
