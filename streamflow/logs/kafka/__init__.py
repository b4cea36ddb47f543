"""The Kafka log: Apache Kafka behind the Log port (`sdk.log`). Start reading at `log.py`."""

from __future__ import annotations

from streamflow.logs.kafka.log import KafkaLog
from streamflow.logs.kafka.options import KafkaOptions

__all__ = ["KafkaLog", "KafkaOptions"]
