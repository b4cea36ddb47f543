"""A connection that breaks just before a request is a broken connection, whatever the event loop calls it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from streamflow.logs.kafka.wire import Client


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
