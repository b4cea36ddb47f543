"""A connection that breaks just before a request is a broken connection, whatever the event loop calls it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from streamflow.logs.kafka.wire import Client, bear_breaks


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RuntimeError("unable to perform operation on <TCPTransport closed=True>"), KafkaConnectionError),
        (NodeNotReadyError("closed"), NodeNotReadyError),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_a_closed_transport_is_a_broken_connection(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[Exception]
) -> None:
    async def send(*_: Any, **__: Any) -> None:
        raise raised

    async def scenario() -> None:
        with pytest.raises(told) as found:
            await Client(bootstrap_servers="127.0.0.1:1").send(1, None)
        assert type(found.value) is told

    monkeypatch.setattr(AIOKafkaClient, "send", send)
    asyncio.run(scenario())


def test_who_waits_for_an_answer_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end tells the waiting, whatever has become of the client's table meanwhile."""

    async def scenario() -> None:
        client = Client()
        connection = AIOKafkaConnection("127.0.0.1", 1)
        client._conns[1, ConnectionGroup.DEFAULT] = connection
        kept = weakref.ref(connection)
        del connection

        async def ready(*_: Any, **__: Any) -> bool:
            return True

        async def send(*_: Any, **__: Any) -> bool:
            del client._conns[1, ConnectionGroup.DEFAULT]
            gc.collect()
            return kept() is not None

        monkeypatch.setattr(AIOKafkaClient, "ready", ready)
        monkeypatch.setattr(AIOKafkaClient, "send", send)
        assert await client.send(1, None)
        gc.collect()
        assert kept() is None

    asyncio.run(scenario())


def test_clients_of_consumers_and_producers_can_be_made_to_bear_that_too() -> None:
    async def scenario() -> None:
        consumer, producer = AIOKafkaConsumer(), AIOKafkaProducer()
        bear_breaks(consumer)
        bear_breaks(producer)
        assert type(consumer._client) is Client
        assert type(producer.client) is Client
        await consumer.stop()
        await producer.stop()

    asyncio.run(scenario())
