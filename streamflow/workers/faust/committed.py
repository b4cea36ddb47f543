"""A Faust app that reads only what was committed, and bears connections that break.

Faust reads uncommitted records unless it runs with its own exactly-once mode. Topics that streamflow writes hold
aborted transactions as well (every kill leaves one), which an agent must not see. On uvloop a connection of its clients
that breaks just before a request would end the whole worker.
"""

from __future__ import annotations

from typing import Any

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver

from streamflow.logs.kafka.wire import bear_breaks
from streamflow.sdk.errors import UsageError


def read_committed(app: faust.App) -> None:
    """Let the app's agents read only committed records, and its clients bear broken connections. Call it before the app
    starts.

    Raises UsageError where the app does not read from Kafka through aiokafka.
    """
    urls = app.conf.broker_consumer
    if any(url.scheme not in ("kafka", "aiokafka") for url in urls):
        raise UsageError(f"read_committed is for brokers behind aiokafka, not for {', '.join(map(str, urls))}.")
    app.transport = _Transport(urls, app)


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # read when it starts; Faust has no setting for it
        bear_breaks(consumer)
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Producer(driver.Producer):
    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        bear_breaks(producer)
        return producer


class _Transport(driver.Transport):
    Consumer = _Consumer
    Producer = _Producer
