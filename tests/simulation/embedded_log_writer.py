"""A process that writes numbered transactions to an embedded log and says on stdout which were acknowledged.

Run as a script: FOLDER NAME FIRST COUNT [JOURNAL_BYTES_MAX [DURABILITY]]. Transaction i puts the record `NAME:i` on
both partitions of topic `t` and commits i + 1 as the position of group NAME.
"""

from __future__ import annotations

import asyncio
import sys

from streamflow.codecs.records import Record, from_records
from streamflow.logs import open_log
from streamflow.model.positions import Committed, TopicPartition

PARTITIONS = (TopicPartition("t", 0), TopicPartition("t", 1))


async def main(folder: str, name: str, first: str, count: str, *options: str) -> None:
    journal_bytes_max, durability = (*options, "67108864", "os")[:2] if len(options) != 1 else (options[0], "os")
    log = open_log(folder, journal_bytes_max=int(journal_bytes_max), durability=durability)
    await log.open()
    producer = await log.producer(name)
    print("ready", flush=True)
    for i in range(int(first), int(first) + int(count)):
        await producer.begin()
        record = Record(0, i, b"key", f"{name}:{i}".encode(), [])
        for at in PARTITIONS:
            await producer.append(at, [from_records([record])])
        await producer.send_offsets(name, {PARTITIONS[0]: Committed(i + 1)})
        await producer.commit()
        print(i, flush=True)
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
