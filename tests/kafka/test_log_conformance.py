"""The Kafka log under the conformance suite, on a real broker."""

from __future__ import annotations

import pytest

from streamflow.logs import KafkaLog
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_conformance import LogConformance, MakeLog


class TestKafkaLog(LogConformance):
    @pytest.fixture
    def make_log(self, kafka: KafkaServer) -> MakeLog:
        return lambda: KafkaLog(kafka.address)
