"""The Kafka log under the conformance suite, on a real broker: as it is, and with everything small."""

from __future__ import annotations

import pytest

from streamflow.logs import KafkaLog, KafkaOptions
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_conformance import LogConformance, MakeLog


class TestKafkaLog(LogConformance):
    @pytest.fixture
    def make_log(self, kafka: KafkaServer) -> MakeLog:
        return lambda: KafkaLog(kafka.address)


class TestCutShort(TestKafkaLog):
    """Every batch is a request of its own: aborted data reaches the broker, and fetches end in cut batches."""

    @pytest.fixture
    def make_log(self, kafka: KafkaServer) -> MakeLog:
        options = KafkaOptions.make(
            compression="zstd",
            transaction_bytes_max=1,
            partition_bytes_max=1 << 16,
            fetch_bytes_max=1 << 16,
            buffer_bytes_max=1 << 20,
            buffer_idle_ms=100,
            fetch_wait_ms=10,
        )
        return lambda: KafkaLog(kafka.address, options=options)
