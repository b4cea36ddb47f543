"""What plans say of failed items besides their policies: the port of those that pass on, and what retries remember."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from streamflow.model.policies import ErrorPolicy, RetryPolicy
from streamflow.sdk.node import Store

ONWARD_PORT: Final = "error.pass"  # beside `out`, wired to the same: failed items that pass on; no node has such a port
ENDED_PORT: Final = "error.ended"  # rows whose execution was ended, on their way to compensations; the same
PARKED: Final = "parked"
PARKING_FULL: Final = "parking_full"  # code of items that could not be put aside: dead letters, unless all stops
DELAYED: Final = "delayed"
DELAY_FULL: Final = "delay_full"  # the same of items that could not wait for their next try
NO_ROOM: Final = (PARKING_FULL, DELAY_FULL)
BREAKER: Final = "breaker"


def put_in(errors: ErrorPolicy) -> ErrorPolicy:
    """The policy of a node that the compiler puts beside one of this policy: what fails there fails for good."""
    on_error = "dead_letter" if errors.on_error == "pass" else errors.on_error
    return replace(errors, on_error=on_error, value=None, breaker=None, retry=RetryPolicy())


def guard_stores(errors: ErrorPolicy) -> tuple[Store, ...]:
    """Stores of what stands around a node that keeps none itself."""
    if errors.retry.parks:
        return (Store(name=PARKED, help="Items that failed, and what waits behind them, by key."),)
    if errors.retry.delays:
        return (Store(name=DELAYED, help="Items that failed, by the time of their next try."),)
    if errors.breaker is not None:
        return (Store(name=BREAKER, help="Failures that count, and until when no item is tried."),)
    return ()
