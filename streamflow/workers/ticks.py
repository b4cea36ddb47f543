"""Ticks of a timer that are written once each, whoever leads: a record a tick, and its number, in one transaction.

A leader that is replaced while it writes is fenced by the next one's producer; the next one goes on behind the last
number that was committed. Ticks that nobody wrote in time are written late, in order, with their scheduled times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import polars as pl

from streamflow.codecs import CodecSpec, encoder
from streamflow.model.batch import KEY, TS
from streamflow.model.positions import Committed, TopicPartition
from streamflow.model.types import ANY, PAYLOAD
from streamflow.sdk.errors import CommitUnknown, LogError, TopicExists
from streamflow.sdk.log import Log, Producer, TopicSpec

_AT_ONCE_MAX = 1_000  # ticks in one transaction, when many are late


class Ticks:
    """One timer: tick n is due at n x `interval_ms` since 1970. Use it on one event loop, by whoever leads."""

    def __init__(self, log: Log, *, workflow: str, name: str, interval_ms: int, topic: str = "") -> None:
        """`topic`: where the ticks go; `<workflow>.<name>.ticks` is made if it is not there."""
        self._log, self._interval_ms = log, interval_ms
        self._name, self._id = name, f"{workflow}.{name}"
        self._at = TopicPartition(topic or f"{self._id}.ticks", 0)
        self._encoder = encoder(CodecSpec(format="json", schema=ANY, name="Tick"))
        self._producer: Producer | None = None
        self._next: int | None = None

    async def fire(self, now_ms: int, *, item: Mapping[str, Any] | None = None) -> int:
        """Write the ticks that are due at `now_ms`; how many. `item`: more fields of each.

        The first tick ever is the last one due. Raises LogError; Fenced when another leader is at work.
        """
        try:
            if self._producer is None:
                await self._take_over(now_ms)
            assert self._next is not None
            numbers = range(self._next, min(now_ms // self._interval_ms + 1, self._next + _AT_ONCE_MAX))
            if numbers:
                await self._write(numbers, item or {})
            return len(numbers)
        except CommitUnknown:
            await self.resign()  # the next call sees what came of it
            return 0
        except LogError:
            await self.resign()
            raise

    async def resign(self) -> None:
        """Forget everything; the next `fire` takes over again."""
        producer, self._producer, self._next = self._producer, None, None
        if producer is not None:
            await producer.close()

    async def _take_over(self, now_ms: int) -> None:
        if self._at.topic not in await self._log.topics():
            with contextlib.suppress(TopicExists):  # another leader was faster
                await self._log.create_topic(TopicSpec(name=self._at.topic, partitions=1))
        self._producer = await self._log.producer(self._id)
        committed = (await self._log.committed(self._id, [self._at])).get(self._at)
        self._next = committed.offset if committed else now_ms // self._interval_ms

    async def _write(self, numbers: range, item: Mapping[str, Any]) -> None:
        assert self._producer is not None
        times = [n * self._interval_ms for n in numbers]
        rows = [
            {**item, "timer": self._name, "number": n, "at": datetime.fromtimestamp(ms / 1000, UTC).isoformat()}
            for n, ms in zip(numbers, times, strict=True)
        ]
        frame = pl.DataFrame(
            {
                KEY: pl.Series([self._name.encode()] * len(rows), dtype=pl.Binary),
                TS: pl.Series(times, dtype=pl.Int64),
                PAYLOAD: pl.Series([orjson.dumps(row) for row in rows], dtype=pl.Binary),
            }
        )
        await self._producer.begin()
        await self._producer.append(self._at, self._encoder.encode(frame).batches)
        await self._producer.send_offsets(self._id, {self._at: Committed(numbers.stop, "")})
        await self._producer.commit()
        self._next = numbers.stop
