"""What do reading, writing and committing cost through the Kafka log alone, with no codec and no task?

    python benchmarks/kafka_log.py kafka://HOST:PORT [RECORDS]

Prints records/s, MB/s of record bodies and CPU µs a record of this process; then CPU and latency of a commit for 1, 4
and 16 producers that commit every 100 ms to three topics each. CPU is time.process_time: all threads of this process,
not the broker's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

import uvloop

from streamflow.codecs.records import Record, from_records
from streamflow.logs import open_log
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import Log, NewBatch, RecordBatch, TopicSpec

PARTITIONS = 4
BATCH_RECORDS = 10_000
READ_BYTES = 2 << 20
COMMIT_INTERVAL_S = 0.1
COMMITS_FOR_S = 6.0
Copy = Callable[[int, list[RecordBatch], int], Awaitable[None]]


class Stopwatch:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def told(self, what: str, records: int, size_bytes: int) -> str:
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        return (
            f"{what:22} {records / wall_s:>12,.0f} records/s {size_bytes / wall_s / 1e6:>6.0f} MB/s "
            f"{cpu_s / records * 1e6:.3f} CPU µs/record"
        )

    def cpu_ms_per(self, count: int) -> float:
        return (time.process_time() - self._cpu_s) / count * 1000

    def per_s(self, count: int) -> float:
        return count / (time.perf_counter() - self._wall_s)


def records_of(count: int) -> NewBatch:
    """Records of about 58 bytes that lz4 halves."""
    return from_records(
        [Record(0, i, b"c%05d" % (i % 9000), os.urandom(4).hex().encode() * 4 + b"x" * 10, []) for i in range(count)]
    )


async def fill(log: Log, topic: str, count: int) -> None:
    one = records_of(BATCH_RECORDS)
    producer = await log.producer(topic)
    watch = Stopwatch()
    for _ in range(count // BATCH_RECORDS // (2 * PARTITIONS)):
        await producer.begin()
        for n in range(2 * PARTITIONS):
            await producer.append(TopicPartition(topic, n % PARTITIONS), [one])
        await producer.commit()
    print(watch.told("append + commit", count, count * len(one.body) // BATCH_RECORDS))
    await producer.close()


async def drain(log: Log, topic: str, copy: Copy | None = None) -> None:
    """Read all partitions side by side as tasks do: the next read is under way while one is worked on."""
    watch, total = Stopwatch(), [0, 0]

    async def partition(n: int) -> None:
        at = TopicPartition(topic, n)
        _, end = await log.offsets(at)
        position, ahead = 0, asyncio.ensure_future(log.read(at, 0, size_bytes_max=READ_BYTES))
        while position < end:
            found = await ahead
            position = found[-1].last_offset + 1
            ahead = asyncio.ensure_future(log.read(at, position, size_bytes_max=READ_BYTES))
            total[0] += sum(b.count for b in found)
            total[1] += sum(len(b.body) for b in found)
            if copy is not None:
                await copy(n, found, position)
        await ahead

    await asyncio.gather(*(partition(n) for n in range(PARTITIONS)))
    print(watch.told("read" if copy is None else "read, append, commit", *total))


async def copied(log: Log, topic: str) -> None:
    out = f"{topic}-out"
    await log.create_topic(TopicSpec(name=out, partitions=PARTITIONS))
    producers = [await log.producer(f"{out}.{n}") for n in range(PARTITIONS)]

    async def copy(n: int, found: list[RecordBatch], position: int) -> None:
        times = {"base_timestamp_ms": 0, "max_timestamp_ms": BATCH_RECORDS}
        await producers[n].begin()
        await producers[n].append(
            TopicPartition(out, n), [NewBatch(count=b.count, body=b.body, **times) for b in found]
        )
        await producers[n].send_offsets(out, {TopicPartition(topic, n): Committed(position)})
        await producers[n].commit()

    await drain(log, topic, copy)
    for one in producers:
        await one.close()
    await log.delete_topic(out)


async def commits(log: Log, name: str, count: int) -> None:
    topics = [f"{name}-{count}-{kind}" for kind in ("out", "ledger", "journal")]
    for topic in topics:
        await log.create_topic(TopicSpec(name=topic, partitions=count))
    one, latencies_s = records_of(100), list[float]()
    producers = [await log.producer(f"{topics[0]}.{n}") for n in range(count)]

    async def task(n: int, until_s: float) -> None:
        due_s = time.perf_counter() + COMMIT_INTERVAL_S * n / count  # tasks do not commit all at once
        while due_s < until_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            begun_s = time.perf_counter()
            await producers[n].begin()
            for topic in topics:
                await producers[n].append(TopicPartition(topic, n), [one])
            await producers[n].send_offsets(topics[0], {TopicPartition(topics[0], n): Committed(len(latencies_s))})
            await producers[n].commit()
            latencies_s.append(time.perf_counter() - begun_s)
            due_s = max(due_s + COMMIT_INTERVAL_S, begun_s)

    watch = Stopwatch()
    await asyncio.gather(*(task(n, time.perf_counter() + COMMITS_FOR_S) for n in range(count)))
    latencies_s.sort()
    p50, p95 = (latencies_s[int(len(latencies_s) * q)] * 1000 for q in (0.5, 0.95))
    print(
        f"{count:>2} producers: {watch.per_s(len(latencies_s)):>4.0f} commits/s, "
        f"{watch.cpu_ms_per(len(latencies_s)):.2f} CPU ms a commit, latency p50 {p50:.1f} ms, p95 {p95:.1f} ms"
    )
    for producer in producers:
        await producer.close()
    for topic in topics:
        await log.delete_topic(topic)


async def main(address: str, count: int) -> None:
    log, name = open_log(address), f"bench-log-{uuid.uuid4().hex[:6]}"
    await log.open()
    try:
        await log.create_topic(TopicSpec(name=name, partitions=PARTITIONS, config={"retention.ms": "-1"}))
        await fill(log, name, count)
        await drain(log, name)
        await drain(log, name)
        await copied(log, name)
        await log.delete_topic(name)
        for producers in (1, 4, 16):
            await commits(log, name, producers)
    finally:
        await log.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4_000_000))
