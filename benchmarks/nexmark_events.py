"""Nexmark events on either log: `python nexmark_events.py LOG EVENTS FILE` fills LOG's topic and writes JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamflow.codecs.records import Record, from_records
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec
from streamflow.testing.nexmark import Nexmark, lines
from tests.golden.nexmark_answers import ROOT
from tests.kafka.nexmark_source import PARTITIONS, SCHEMA, Placed, encoded, parsed, placed

TOPIC = "nexmark.events"
_BATCH, _TRANSACTION = 1_000, 50_000  # events


async def fill(address: str, stream: Nexmark) -> None:
    """Create and fill the topic, and close its end."""
    log = open_log(address)
    await log.open()
    await log.create_topic(TopicSpec(name=TOPIC, partitions=PARTITIONS, config={"retention.ms": "-1"}))
    producer = await log.producer("fill")
    schema, waiting = parsed(ROOT / "nexmark-q0" / SCHEMA), placed(stream)
    while portion := list(islice(waiting, _TRANSACTION)):
        await producer.begin()
        for partition in range(PARTITIONS):
            mine = [event for event in portion if event.partition == partition]
            for at in range(0, len(mine), _BATCH):
                records = list(_records(schema, mine[at : at + _BATCH]))
                await producer.append(TopicPartition(TOPIC, partition), [from_records(records)])
        await producer.commit()
    await producer.close()
    await log.close()


def _records(schema: Any, portion: list[Placed]) -> Iterator[Record]:
    for event in portion:
        yield Record(0, event.time_ms, event.key, encoded(schema, event.value), [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("events", type=int)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    stream = Nexmark(events=args.events)
    asyncio.run(fill(args.log, stream))
    with args.file.open("wb") as file:
        file.writelines(lines(stream))
