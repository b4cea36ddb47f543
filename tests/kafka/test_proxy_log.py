"""The Kafka log on a bad network: whatever happens to a commit is resolved, and nothing is lost or doubled."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamflow.logs import KafkaLog, KafkaOptions
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import CommitUnknown, Fenced, LogUnavailable
from streamflow.sdk.log import Producer
from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_rules import Api, At, Do
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import batch, new_topic, values
from streamflow.testing.tcp_proxy import Direction

REQUEST_TIMEOUT_MS = 2_000  # a busy machine must not make a fault of its own
IMPATIENT_MS = 500  # where faults of that kind do no harm
HELD_MS = 1.5 * IMPATIENT_MS  # long enough to be given up, short enough to arrive in a later transaction
VISIBLE_S = 30  # an upper bound for what is committed to be seen
Proxied = tuple[KafkaServer, KafkaProxy]


class Ground:
    """A log behind the proxy, one past it, and what a task does: for each position one record, and the next position.

    The positions are committed for the output's own partition: no input is needed to count.
    """

    def __init__(self, behind: KafkaLog, past: KafkaLog, at: TopicPartition) -> None:
        self.behind, self.past, self.at, self.name = behind, past, at, at.topic

    async def producer(self) -> Producer:
        return await self.behind.producer(self.name)

    async def prepare(self, producer: Producer, position: int) -> None:
        """A transaction that is complete but for its commit."""
        await producer.begin()
        await producer.append(self.at, [batch(str(position))])
        await producer.send_offsets(self.name, {self.at: Committed(offset=position + 1)})

    async def taken_over(self) -> tuple[Producer, int]:
        """A new producer, and where it is to go on."""
        return await self.producer(), await self.position(self.behind)

    async def position(self, log: KafkaLog) -> int:
        return (await log.committed(self.name, [self.at]))[self.at].offset

    async def check(self, position: int) -> None:
        """Past the proxy there are the records of all positions before this one, once each, in order."""
        wanted = [str(i) for i in range(position)]
        async with asyncio.timeout(VISIBLE_S):
            while await values(self.past, self.at) != wanted or await self.position(self.past) != position:
                assert len(await values(self.past, self.at)) <= position
                await asyncio.sleep(0.05)


@asynccontextmanager
async def ground(proxied: Proxied, request_timeout_ms: int = REQUEST_TIMEOUT_MS) -> AsyncIterator[Ground]:
    server, proxy = proxied
    patient = {"retry_ms": 60_000, "connect_timeout_ms": 60_000}
    past = KafkaLog(server.address, options=KafkaOptions(**patient))
    options = KafkaOptions(request_timeout_ms=request_timeout_ms, **patient)
    behind = KafkaLog(f"kafka://{proxy.host}:{proxy.port}", options=options)
    await past.open()
    await behind.open()
    try:
        # The records are of 1970, and this broker looks for what is too old every second.
        it = Ground(behind, past, await new_topic(past, retention_ms="-1"))
        first = await past.producer(it.name)  # the first of all makes the broker's own topics, which takes a while
        await first.begin()
        await first.send_offsets(it.name, {it.at: Committed(offset=0)})
        await first.commit()
        yield it
    finally:
        proxy.heal()
        await behind.close()
        await past.close()


@pytest.mark.parametrize("arrives", ["before its successor", "after its successor"])
def test_a_commit_that_is_held_back_is_resolved(proxied: Proxied, proxy: KafkaProxy, arrives: str) -> None:
    """It counts when it arrives before the next producer takes over, and not at all when it arrives later."""

    async def scenario() -> None:
        async with ground(proxied) as it:
            producer = await it.producer()
            await it.prepare(producer, 0)
            held = proxy.on(Api.END_TXN, "request", "hold")
            answered = proxy.on(Api.END_TXN, "response", "pass")
            with pytest.raises(CommitUnknown, match="commit"):
                await producer.commit()
            assert held.caught == 1
            if arrives == "before its successor":
                held.release()
                await asyncio.to_thread(answered.wait)
                producer, position = await it.taken_over()
                assert position == 1
            else:
                producer, position = await it.taken_over()
                assert position == 0
                await it.prepare(producer, 0)
                held.release()
                await asyncio.to_thread(answered.wait)
                await producer.commit()
            await it.check(1)
            await producer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("api", "at", "do", "done"),
    [
        (Api.END_TXN, "response", "drop", True),
        (Api.END_TXN, "response", "cut", True),
        (Api.END_TXN, "request", "cut", False),
        (Api.TXN_OFFSET_COMMIT, "response", "cut", False),
        (Api.ADD_PARTITIONS_TO_TXN, "response", "cut", False),
        (Api.ADD_OFFSETS_TO_TXN, "request", "drop", False),
    ],
)
def test_a_commit_that_fails_on_its_way_is_resolved(
    proxied: Proxied, proxy: KafkaProxy, api: Api, at: At, do: Do, done: bool
) -> None:
    async def scenario() -> None:
        async with ground(proxied) as it:
            producer = await it.producer()
            await it.prepare(producer, 0)
            fault = proxy.on(api, at, do)
            with pytest.raises(CommitUnknown):
                await producer.commit()
            assert fault.caught == 1
            producer, position = await it.taken_over()
            assert position == int(done)
            await it.check(position)
            await it.prepare(producer, position)
            await producer.commit()
            await it.check(position + 1)
            await producer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("at", "do"), [("request", "cut"), ("response", "cut"), ("response", "drop")])
def test_records_that_were_not_answered_are_sent_again_and_stored_once(
    proxied: Proxied, proxy: KafkaProxy, at: At, do: Do
) -> None:
    async def scenario() -> None:
        async with ground(proxied) as it:
            producer = await it.producer()
            fault = proxy.on(Api.PRODUCE, at, do)
            await producer.begin()
            await producer.append(it.at, [batch("0")])  # no positions: their request would break with the connection
            await producer.commit()
            assert fault.caught == 1
            assert await values(it.behind, it.at) == ["0"]
            await producer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("direction", ["to_server", "to_client", None])
def test_a_half_open_connection_is_given_up(proxied: Proxied, proxy: KafkaProxy, direction: Direction | None) -> None:
    async def scenario() -> None:
        async with ground(proxied) as it:
            producer = await it.producer()
            await it.prepare(producer, 0)
            await producer.commit()
            await it.prepare(producer, 1)
            proxy.freeze(direction)
            with pytest.raises(CommitUnknown):
                await producer.commit()
            proxy.thaw(direction)  # what was sent arrives now, or its answer does
            producer, position = await it.taken_over()
            assert position in (1, 2)
            await it.check(position)
            await it.prepare(producer, position)
            await producer.commit()
            await it.check(position + 1)
            await producer.close()

    asyncio.run(scenario())


def test_a_producer_can_be_replaced_by_its_own_late_request(proxied: Proxied, proxy: KafkaProxy) -> None:
    """InitProducerId is repeated when it is not answered; what was sent first arrives later and fences us."""

    async def scenario() -> None:
        async with ground(proxied) as it:
            held = proxy.on(Api.INIT_PRODUCER_ID, "request", "hold")
            producer = await it.producer()
            late = proxy.on(Api.INIT_PRODUCER_ID, "response", "pass")
            held.release()
            await asyncio.to_thread(late.wait)
            await it.prepare(producer, 0)
            with pytest.raises(Fenced):
                await producer.commit()
            producer, position = await it.taken_over()
            assert position == 0
            await it.prepare(producer, 0)
            await producer.commit()
            await it.check(1)
            await producer.close()

    asyncio.run(scenario())


FAULTS: list[tuple[Api, At, Do]] = [
    (Api.END_TXN, "request", "hold"),
    (Api.END_TXN, "request", "cut"),
    (Api.END_TXN, "response", "drop"),
    (Api.END_TXN, "response", "cut"),
    (Api.TXN_OFFSET_COMMIT, "request", "hold"),
    (Api.TXN_OFFSET_COMMIT, "response", "cut"),
    (Api.ADD_PARTITIONS_TO_TXN, "request", "hold"),
    (Api.ADD_PARTITIONS_TO_TXN, "response", "drop"),
    (Api.ADD_OFFSETS_TO_TXN, "response", "cut"),
    (Api.PRODUCE, "request", "hold"),
    (Api.PRODUCE, "response", "cut"),
    (Api.INIT_PRODUCER_ID, "request", "hold"),
    (Api.INIT_PRODUCER_ID, "response", "cut"),
    (Api.OFFSET_FETCH, "response", "drop"),
    (Api.FIND_COORDINATOR, "request", "cut"),
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_over_many_faults(proxied: Proxied, proxy: KafkaProxy, seed: int) -> None:
    """Method: 150 transactions, each for the position that was committed last, with faults at random all the while."""
    transactions, chance = 150, 0.02

    async def scenario() -> None:
        draw, resolved, errors = random.Random(seed), 0, 0
        async with ground(proxied, IMPATIENT_MS) as it:
            rules = [
                proxy.on(api, at, do, for_ms=HELD_MS if do == "hold" else None, times=None, chance=chance)
                for api, at, do in FAULTS
            ]
            producer, position = await it.taken_over()
            while position < transactions:
                try:
                    await it.prepare(producer, position)
                    if draw.random() < chance:
                        proxy.freeze(draw.choice(["to_server", "to_client", None]))
                    await producer.commit()
                    position += 1
                except (CommitUnknown, Fenced, LogUnavailable):
                    errors += 1
                    proxy.thaw()
                    producer, found = await it.taken_over()
                    assert found in (position, position + 1)
                    resolved += found - position
                    position = found
            proxy.heal()
            await it.check(transactions)
            await producer.close()
        caught = sum(rule.caught for rule in rules)
        assert min(caught, errors) > transactions // 10
        assert resolved > 0  # some commits failed for their client alone

    asyncio.run(scenario())
