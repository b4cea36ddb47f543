"""Settings of a workflow: what the report says of them."""

from __future__ import annotations

from collections.abc import Mapping

# What has no effect on what a workflow computes.
_SILENT = frozenset(
    ("saveExecutionProgress", "saveManualExecutions", "saveDataErrorExecution", "saveDataSuccessExecution",
     "callerPolicy", "callerIds", "availableInMCP", "timeSavedPerExecution", "binaryMode")
)  # fmt: skip


def told_settings(settings: Mapping[str, object]) -> list[str]:
    """A sentence for each setting that means something."""
    order = settings.get("executionOrder")
    made: list[str] = []
    if order == "v1":
        made.append("executionOrder v1: branches run one after another in n8n; here all of them run as items come")
    else:
        shown = "is not set" if order is None else repr(order)
        made.append(
            f"executionOrder {shown}: the legacy order (v0), in which n8n runs the first node of each branch, then the "
            "second; here all branches run as items come"
        )
    if settings.get("errorWorkflow"):
        made.append(
            f"errorWorkflow {settings['errorWorkflow']!r} is not carried over: import that workflow into the same "
            "folder, put an `error-trigger` of this one into it, and say `policies: {error_workflow: FILE}` here"
        )
    if settings.get("timezone"):
        made.append(f"timezone {settings['timezone']!r} is not carried over: times are UTC, see to_timezone")
    if settings.get("executionTimeout") not in (None, -1):
        made.append(f"executionTimeout {settings['executionTimeout']!r} is not carried over")
    told = {"executionOrder", "errorWorkflow", "timezone", "executionTimeout"} | _SILENT
    made += [f"the setting {name!r} is not known" for name in settings if name not in told]
    return made
