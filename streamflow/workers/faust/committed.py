"""A Faust app that reads only what was committed.

Faust reads uncommitted records unless it runs with its own exactly-once mode. Topics that streamflow writes hold
aborted transactions as well (every kill leaves one), which an agent must not see.
"""

from __future__ import annotations

from typing import Any

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver

from streamflow.sdk.errors import UsageError


def read_committed(app: faust.App) -> None:
    """Let the app's agents read only committed records. Call it before the app starts.

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
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer
