"""Reads and waiting readers over the fetcher: what is fetched ahead, what is let go, and what health says meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from streamflow.codecs.envelope import build
from streamflow.codecs.records import Record, from_records
from streamflow.logs.kafka.codes import Code
from streamflow.logs.kafka.fetcher import READERS_MAX, Fetcher
from streamflow.logs.kafka.health import health
from streamflow.logs.kafka.options import KafkaOptions
from streamflow.logs.kafka.positions import Offsets
from streamflow.logs.kafka.reader import Reader
from streamflow.logs.kafka.retry import Unanswered
from streamflow.logs.kafka.settled import Settled
from streamflow.sdk.errors import LogCorrupt, LogError, LogUnavailable, OffsetOutOfRange
from tests.unit.kafka.fake_wire import AT, FakeWire, cluster

LARGE = 1 << 20
OPTIONS = KafkaOptions(buffer_idle_ms=100)


class Ground:
    """A reader and its fetcher over a fake wire."""

    def __init__(self, retry_ms: int) -> None:
        self.wire = FakeWire()
        parts = cluster(self.wire, retry_ms)
        offsets = Offsets(parts)
        self.fetcher = Fetcher(parts, OPTIONS)
        self.reader = Reader(self.fetcher, offsets, Settled(parts, offsets), retry_ms)

    def holds(self, count: int, *, base: int = 0) -> None:
        """The partition holds `count` batches of one record from `base` on."""
        one = [from_records([Record(0, 1, b"k", b"v%d" % i, [])]) for i in range(count)]
        self.wire.stored = b"".join(build(b, base_offset=base + i, compression="none") for i, b in enumerate(one))
        self.wire.end = self.wire.high = base + count

    def state(self) -> tuple[str, str]:
        (one,) = health(self.fetcher.feeds(), time.monotonic())
        return one.state, one.reason


def run(scenario: Callable[[Ground], Awaitable[None]], *, retry_ms: int = 60_000) -> None:
    async def body() -> None:
        ground = Ground(retry_ms)
        try:
            await scenario(ground)
        finally:
            await ground.fetcher.stop()

    asyncio.run(asyncio.wait_for(body(), 60))


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.001)


def test_a_read_follows_the_leader() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(3)
        it.wire.leaders_fresh = {AT: 2}
        it.wire.will("Fetch", Code.NOT_LEADER_OR_FOLLOWER)
        assert [b.base_offset for b in await it.reader.read(AT, 0, LARGE)] == [0, 1, 2]
        assert it.wire.requests("Fetch")[:2] == [1, 2]

    run(scenario)


def test_a_slow_broker_is_not_the_end() -> None:
    """Answers without anything for this partition, though its end is not reached, are asked again."""

    async def scenario(it: Ground) -> None:
        it.holds(1)
        stored, it.wire.stored = it.wire.stored, b""
        reading = asyncio.create_task(it.reader.read(AT, 0, LARGE))
        await until(lambda: len(it.wire.requests("Fetch")) > 3)
        assert not reading.done()
        it.wire.stored = stored
        assert len(await reading) == 1

    run(scenario)


def test_health_tells_who_is_stuck_from_who_has_nothing_to_do() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(1)
        await it.reader.read(AT, 0, LARGE)
        assert await it.reader.read(AT, 1, LARGE) == []
        assert it.state() == ("idle", "")
        it.wire.reachable = False
        reading = asyncio.create_task(it.reader.read(AT, 1, LARGE))
        await until(lambda: it.state()[0] == "stuck")
        assert it.state()[1] == "no connection to broker 1"
        it.wire.reachable = True
        assert await reading == []
        assert it.state() == ("idle", "")
        it.wire.high += 5
        await it.reader.read(AT, 1, LARGE)
        (one,) = health(it.fetcher.feeds(), time.monotonic())
        assert (one.position, one.lag, one.held_back) == (1, 0, 5)

    run(scenario)


def test_a_read_gives_up_with_the_reason() -> None:
    async def scenario(it: Ground) -> None:
        it.wire.reachable = False
        with pytest.raises(LogUnavailable, match=r"read t/0 at offset 0: given up .*no connection to broker 1"):
            await it.reader.read(AT, 0, LARGE)

    run(scenario, retry_ms=50)


def test_a_read_waits_out_a_broken_connection() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(1)
        it.wire.will("Fetch", Unanswered("broke", sent=True), Code.LEADER_NOT_AVAILABLE, Code.REQUEST_TIMED_OUT)
        assert len(await it.reader.read(AT, 0, LARGE)) == 1

    run(scenario)


def test_damage_is_told_and_what_comes_whole_is_read_afterwards() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(1)
        whole = it.wire.stored
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1]):
            it.wire.stored = damaged
            with pytest.raises(LogCorrupt):
                await it.reader.read(AT, 0, LARGE)
        it.wire.stored = whole
        assert len(await it.reader.read(AT, 0, LARGE)) == 1

    run(scenario)


def test_refusals_are_told_at_once() -> None:
    async def scenario(it: Ground) -> None:
        it.wire.end = 9
        it.wire.will("Fetch", Code.OFFSET_OUT_OF_RANGE, Code.TOPIC_AUTHORIZATION_FAILED)
        with pytest.raises(OffsetOutOfRange, match=r"t/0: offset 20 lies outside \[0, 9\]"):
            await it.reader.read(AT, 20, LARGE)
        with pytest.raises(LogError, match="TOPIC_AUTHORIZATION_FAILED"):
            await it.reader.read(AT, 0, LARGE)

    run(scenario)


def test_who_reads_on_is_served_ahead_and_who_looks_once_is_not() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(1)
        await it.reader.read(AT, 0, LARGE)
        it.holds(3, base=1)
        await asyncio.sleep(0)
        assert len(it.wire.requests("Fetch")) == 1
        assert [b.base_offset for b in await it.reader.read(AT, 1, 1)] == [1]
        asked = len(it.wire.requests("Fetch"))
        assert [b.base_offset for b in await it.reader.read(AT, 2, 1)] == [2]  # no request was needed
        assert len(it.wire.requests("Fetch")) == asked

    run(scenario)


def test_a_read_again_at_the_same_place_gives_the_same() -> None:
    """Reading moves no cursor: a task that was interrupted reads again."""

    async def scenario(it: Ground) -> None:
        it.holds(3)
        for offset in (0, 0, 1, 1, 0, 2):
            found = await it.reader.read(AT, offset, 1)
            assert [b.base_offset for b in found] == [offset]

    run(scenario)


def test_readers_of_one_partition_do_not_disturb_each_other_and_are_bounded() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(20)
        for offset in range(0, 20, 2):
            await it.reader.read(AT, offset, 1)
        await it.reader.read(AT, 0, 1)
        assert 1 <= len(list(it.fetcher.feeds())) <= READERS_MAX

    run(scenario)


def test_what_nobody_reads_is_let_go() -> None:
    async def scenario(it: Ground) -> None:
        it.holds(3)
        await it.reader.read(AT, 0, 1)
        assert sum(f.size_bytes for f in it.fetcher.feeds()) > 0
        await until(lambda: not list(it.fetcher.feeds()))

    run(scenario)


def test_a_waiting_reader_is_woken_by_the_record_and_holds_up_no_read() -> None:
    async def scenario(it: Ground) -> None:
        waiting = asyncio.create_task(it.reader.wait({AT: 0}, 60_000))
        await until(lambda: bool(it.wire.requests("Fetch")))
        assert await it.reader.read(AT, 0, LARGE) == []  # while a request of the one who waits is under way
        assert not waiting.done()
        it.holds(1)
        it.wire.arrival.set()
        await waiting
        assert len(await it.reader.read(AT, 0, LARGE)) == 1

    run(scenario)


def test_waiting_takes_one_request_at_a_time() -> None:
    async def scenario(it: Ground) -> None:
        await it.reader.wait({AT: 0}, 1)
        for _ in range(20):
            await it.reader.wait({AT: 0}, 1)
        assert len(it.wire.requests("Fetch")) <= 2

    run(scenario)


def test_closing_ends_what_is_under_way() -> None:
    async def scenario(it: Ground) -> None:
        it.wire.reachable = False
        reading = asyncio.create_task(it.reader.read(AT, 0, LARGE))
        await until(lambda: bool(it.wire.requests("Fetch")))
        await it.fetcher.stop()
        with pytest.raises(LogError, match="closed"):
            await reading

    run(scenario)
