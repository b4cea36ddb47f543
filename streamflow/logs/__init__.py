"""Logs: where items are kept between stages. `open_log` turns an address into one."""

from __future__ import annotations

from typing import Any

from streamflow.logs.embedded.log import EmbeddedLog
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log

__all__ = ["EmbeddedLog", "open_log"]


def open_log(address: str, **options: Any) -> Log:
    """The log at `address`, not opened yet: a path is an embedded log. `options` are those of the log's class."""
    if address.startswith("kafka://"):
        raise UsageError(
            f"{address}: this version of streamflow has no Kafka log; it arrives with the next one.",
            mend="Use the embedded log meanwhile: give a folder as the address.",
        )
    if "://" in address:
        raise UsageError(f"{address}: no log has such an address.", mend="Give a folder, or kafka://HOST:PORT.")
    if not address:
        raise UsageError("the address of the log is empty.", mend="Give a folder, such as .streamflow/log.")
    return EmbeddedLog(address, **options)
