"""Sending, and what comes out of it: how fast, and how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from streamflow.bench.feed import Feed
from streamflow.codecs import CodecSpec, decoder
from streamflow.model.batch import TS
from streamflow.model.positions import TopicPartition
from streamflow.model.types import BYTES
from streamflow.sdk.log import Log

TICK_S: Final = 0.002  # records that are due are sent so often
WARM_S: Final = 2.0  # of a steady rate, which does not count
GRACE_S: Final = 5.0  # for what was sent last
_QUIET_S: Final = 1.0
_READ_BYTES: Final = 4 << 20


async def fill(log: Log, feeds: Sequence[Feed], records: int) -> int:
    """Send `records` to all topics together, in equal parts; returns their bytes, without compression."""
    producer = await log.producer("streamflow.bench.fill")
    size = 0
    for number, feed in enumerate(feeds):
        mine = records // len(feeds) + (number < records % len(feeds))
        for batches in feed.chunks(mine):
            await producer.begin()
            for at, made in batches.items():
                await producer.append(at, made)
                size += sum(len(batch.body) for batch in made)
            await producer.commit()
    await producer.close()
    return size


async def settled(arrivals: Arrivals) -> None:
    """Return when nothing has come for a moment, or GRACE_S are over."""
    until_s, count, since_s = time.monotonic() + GRACE_S, len(arrivals), time.monotonic()
    while time.monotonic() < until_s and time.monotonic() - since_s < _QUIET_S:
        await asyncio.sleep(0.05)
        if len(arrivals) != count:
            count, since_s = len(arrivals), time.monotonic()


async def send_steadily(log: Log, feeds: Sequence[Feed], rate: int, seconds: float) -> float:
    """Send so many records a second, in turn to all topics; each has the time at which it was due. Returns by how many
    ms the latest of them was sent later than that.
    """
    appender = await log.appender("streamflow.bench.steady")
    total, sent, late_ms = int(rate * seconds), 0, 0.0
    begun = time.time()
    while sent < total:
        due = min(total, int((time.time() - begun) * rate) + 1)
        if due > sent:
            numbers = np.arange(sent, due)
            times = ((begun + numbers / rate) * 1_000).astype(np.int64)
            for i, feed in enumerate(feeds):
                mine = times[numbers % len(feeds) == i]
                if len(mine):
                    await appender.append(feed.batches(feed.frame(mine)))
            late_ms = max(late_ms, time.time() * 1_000 - float(times[0]))
            sent = due
        await asyncio.sleep(TICK_S)
    await appender.close()
    return late_ms


@dataclass(slots=True)
class Arrivals:
    """What was seen of the topics that a workflow writes: of each record its time, and when it was there; ms."""

    made: list[npt.NDArray[np.float64]] = field(default_factory=list)
    seen: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.made))

    def latencies(self, since_ms: float) -> npt.NDArray[np.float64]:
        """ms from a record's time to when it was there, of records made since then."""
        if not self.made:
            return np.empty(0)
        made, seen = np.concatenate(self.made), np.concatenate(self.seen)
        late: npt.NDArray[np.float64] = (seen - made)[made >= since_ms]
        return late


async def watch(log: Log, topics: Mapping[str, int], arrivals: Arrivals) -> None:
    """Note what comes on all partitions of these topics, from their ends on, until cancelled."""
    read = decoder(CodecSpec(format="bytes", schema=BYTES), reserved=(TS,))
    places = [TopicPartition(topic, p) for topic, count in topics.items() for p in range(count)]
    positions = {at: (await log.offsets(at))[1] for at in places}
    while True:
        await log.wait(positions, timeout_ms=50)
        for at, position in positions.items():
            batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
            if batches:
                now_ms = time.time() * 1_000
                frame = read.decode(batches, first_offset=position).frame
                arrivals.made.append(frame[TS].to_numpy().astype(np.float64))
                arrivals.seen.append(np.full(frame.height, now_ms))
                positions[at] = batches[-1].last_offset + 1


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """p50, p95, p99 and max, in the unit of the values."""
    if not len(values):
        return {}
    found = {f"p{p}": float(np.percentile(values, p)) for p in (50, 95, 99)}
    return {name: round(value, 2) for name, value in (found | {"max": float(values.max())}).items()}
