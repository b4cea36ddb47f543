"""python limit.py BOOTSTRAP INPUT OUTPUT N

The limit of what a worker on streamflow's Kafka log can reach: batches are fetched, checked, decompressed, compressed and
appended as they came, in transactions with the offsets, and nothing is decoded. One transaction a partition every 100 ms.
"""

import asyncio
import json
import sys
import time

import uvloop

from streamflow.logs import open_log
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import NewBatch

READ_BYTES, COMMIT_S = 2 << 20, 0.1
begun = {}


async def copy(log, source, target, partition):
    at, to = TopicPartition(source, partition), TopicPartition(target, partition)
    producer = await log.producer(f"{target}.{partition}")
    _, end = await log.offsets(at)
    position, count = 0, 0
    ahead = asyncio.ensure_future(log.read(at, 0, size_bytes_max=READ_BYTES))
    due, open_ = 0.0, False
    while position < end:
        found = await ahead
        begun.setdefault("wall", time.perf_counter()), begun.setdefault("cpu", time.process_time())
        position = found[-1].last_offset + 1
        ahead = asyncio.ensure_future(log.read(at, position, size_bytes_max=READ_BYTES))
        if not open_:
            await producer.begin()
            due, open_ = time.perf_counter() + COMMIT_S, True
        await producer.append(to, [NewBatch(count=b.count, body=b.body, base_timestamp_ms=b.base_timestamp_ms,
                                            max_timestamp_ms=b.max_timestamp_ms) for b in found if b.count])
        count += sum(b.count for b in found)
        if time.perf_counter() >= due or position >= end:
            await producer.send_offsets(target, {at: Committed(position)})
            await producer.commit()
            open_ = False
    ahead.cancel()
    await producer.close()
    return count


async def main(bootstrap, source, target, n):
    log = open_log(f"kafka://{bootstrap}")
    await log.open()
    partitions = (await log.topics())[source].partitions
    count = sum(await asyncio.gather(*(copy(log, source, target, p) for p in range(partitions))))
    seconds = time.perf_counter() - begun["wall"]
    cpu = time.process_time()
    await log.close()
    print(json.dumps({
        "peer": "limit", "workload": "copy", "guarantee": "exactly_once", "records": count, "seconds": seconds,
        "records_per_s": count / seconds, "cpu_us_per_record": cpu / count * 1e6,
        "cpu_us_per_record_run": (cpu - begun["cpu"]) / count * 1e6, "threads": 1, "mode": "-", "out": count,
    }))
    if count != n:
        sys.exit(f"{count} records were copied, {n} were expected")


uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
