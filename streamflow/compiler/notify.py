"""Policy `notify`: a trigger that reads the workflow's own dead letters, and a notification behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamflow.model.policies import ErrorPolicy, RetryPolicy
from streamflow.sdk.params import RawParams
from streamflow.workflow import WorkflowDocument

HEARS: Final = "notify.failed"
TELLS: Final = "notify.send"
# What cannot be told is not told again by way of another dead letter: that would go on for ever.
TELLS_ERRORS: Final = ErrorPolicy(
    on_error="continue", retry=RetryPolicy(attempts=3, delay_ms=1_000, backoff="exponential")
)
HEARS_ERRORS: Final = ErrorPolicy(on_error="continue")


def notifying(document: WorkflowDocument) -> Mapping[str, tuple[str, RawParams, ErrorPolicy]]:
    """Nodes to add, in their order: kind, parameters and what becomes of failures; none where nobody is told."""
    wanted = document.policies.notify
    if wanted is None:
        return {}
    place = document.policies.places.get("notify", document.place)
    hears = RawParams(values={"workflow": document.name}, place=place)
    return {
        HEARS: ("error-trigger", hears, HEARS_ERRORS),
        TELLS: ("notification", RawParams(values=dict(wanted), place=place), TELLS_ERRORS),
    }
