"""A bad network between clients and a real broker: what a client sees, and what the broker did all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_rules import Api
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import unique
from tests.kafka.wire import end_offset

REQUEST_TIMEOUT_MS = 1_000


@pytest.fixture
def server(proxied: tuple[KafkaServer, KafkaProxy]) -> KafkaServer:
    return proxied[0]


@pytest.fixture
def topic(server: KafkaServer) -> str:
    name = unique("topic")
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(timeout=30)
    while end_offset(server.bootstrap, name, 0)[0]:  # created is not yet led
        pass
    return name


@asynccontextmanager
async def transacting(proxy: KafkaProxy, topic: str, values: list[bytes]) -> AsyncIterator[AIOKafkaProducer]:
    """aiokafka's producer behind the proxy, with an open transaction that holds `values`."""
    producer = AIOKafkaProducer(
        bootstrap_servers=f"{proxy.host}:{proxy.port}",
        transactional_id=topic,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=100,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        for value in values:
            await producer.send_and_wait(topic, value)
        yield producer
    finally:
        proxy.heal()
        await producer.stop()


async def give_up(commit: asyncio.Task[None]) -> None:
    """Wait for a commit longer than one request's time-out, and then no more: its outcome stays unknown."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(commit, 1.5 * REQUEST_TIMEOUT_MS / 1000)


async def committed(server: KafkaServer, topic: str) -> list[bytes]:
    """Every record that is committed, asked past the proxy, once no transaction of the topic is open any more.

    A mark is written behind them: who reads committed records sees it when all before it is decided.
    """
    async with AIOKafkaProducer(bootstrap_servers=server.bootstrap) as producer:
        mark = await producer.send_and_wait(topic, b"mark")
    at = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=server.bootstrap, isolation_level="read_committed") as consumer:
        consumer.assign([at])
        await consumer.seek_to_beginning(at)
        found = []
        while (record := await consumer.getone()).offset < mark.offset:
            found.append(record.value)
    return [value for value in found if value != b"mark"]


def test_a_commit_held_past_the_time_out_is_done_though_given_up(
    server: KafkaServer, proxy: KafkaProxy, topic: str
) -> None:
    async def scenario() -> None:
        async with transacting(proxy, topic, [b"a", b"b"]) as producer:
            held = proxy.on(Api.END_TXN, "request", "hold")
            commit = asyncio.create_task(producer.commit_transaction())
            await asyncio.to_thread(held.wait)
            proxy.refuse()  # no second try: what arrives is what was held
            await give_up(commit)
            held.release()
            assert await committed(server, topic) == [b"a", b"b"]

    asyncio.run(scenario())


def test_a_commit_whose_answer_is_lost_is_done_though_given_up(
    server: KafkaServer, proxy: KafkaProxy, topic: str
) -> None:
    async def scenario() -> None:
        async with transacting(proxy, topic, [b"a", b"b"]) as producer:
            lost = proxy.on(Api.END_TXN, "response", "drop")
            commit = asyncio.create_task(producer.commit_transaction())
            await asyncio.to_thread(lost.wait)
            proxy.refuse()
            await give_up(commit)
            assert await committed(server, topic) == [b"a", b"b"]

    asyncio.run(scenario())


def test_a_late_commit_ends_a_later_transaction_of_the_same_producer(
    server: KafkaServer, proxy: KafkaProxy, topic: str
) -> None:
    """Why a producer must not go on after a time-out, as aiokafka's does: it asks again, and is answered.

    What it asked first arrives in its next transaction and commits half of that.
    """

    async def scenario() -> None:
        async with transacting(proxy, topic, [b"a"]) as producer:
            held = proxy.on(Api.END_TXN, "request", "hold")
            await producer.commit_transaction()
            assert held.caught == 1
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"half")
            late = proxy.on(Api.END_TXN, "response", "pass")
            held.release()
            await asyncio.to_thread(late.wait)
            assert await committed(server, topic) == [b"a", b"half"]

    asyncio.run(scenario())


def test_offsets_are_committed_though_the_connection_broke(server: KafkaServer, proxy: KafkaProxy, topic: str) -> None:
    async def scenario() -> None:
        at = TopicPartition(topic, 0)
        async with transacting(proxy, topic, [b"a"]) as producer:
            broken = proxy.on(Api.TXN_OFFSET_COMMIT, "response", "cut")
            await producer.send_offsets_to_transaction({at: OffsetAndMetadata(7, "")}, topic)
            await producer.commit_transaction()
            assert broken.caught == 1
        async with AIOKafkaConsumer(bootstrap_servers=server.bootstrap, group_id=topic) as consumer:
            consumer.assign([at])
            assert await consumer.committed(at) == 7

    asyncio.run(scenario())
