"""Logs: where items are kept between stages. `open_log` turns an address into one.

Kafka's client is loaded when it is asked for: a run on the embedded log starts sooner without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamflow.logs.embedded.log import EmbeddedLog
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log

if TYPE_CHECKING:
    from streamflow.logs.kafka import KafkaLog, KafkaOptions

__all__ = ["EmbeddedLog", "KafkaLog", "KafkaOptions", "open_log"]


def open_log(address: str, **options: Any) -> Log:
    """The log at `address`, not opened yet: a path is an embedded log.

    kafka://HOST:PORT[,HOST:PORT][?option=value&...] is Kafka; its options are those of `KafkaOptions`, which the
    environment gives as well (STREAMFLOW_KAFKA_*). `options` are those of the log's class.
    """
    if address.startswith("kafka://"):
        from streamflow.logs.kafka import KafkaLog

        return KafkaLog(address, **options)
    if "://" in address:
        raise UsageError(f"{address}: no log has such an address.", mend="Give a folder, or kafka://HOST:PORT.")
    if not address:
        raise UsageError("the address of the log is empty.", mend="Give a folder, such as .streamflow/log.")
    return EmbeddedLog(address, **options)


def __getattr__(name: str) -> object:
    if name in ("KafkaLog", "KafkaOptions"):
        from streamflow.logs import kafka

        return getattr(kafka, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
