"""Settings of a workflow: what the report says of them."""

from __future__ import annotations

from collections.abc import Mapping

# What has no effect on what a workflow computes.
_SILENT = frozenset(
    ("saveExecutionProgress", "saveManualExecutions", "saveDataErrorExecution", "saveDataSuccessExecution",
     "callerPolicy", "callerIds", "availableInMCP", "timeSavedPerExecution", "binaryMode")
)  # fmt: skip


def error_workflow(settings: Mapping[str, object]) -> str:
    """Id of the workflow that hears of errors; "" where the settings name none of its own."""
    named = settings.get("errorWorkflow")
    if isinstance(named, dict):  # a resource locator
        named = named.get("value")
    return str(named) if isinstance(named, str | int) and named not in ("", "DEFAULT") else ""


def policies_of(settings: Mapping[str, object], workflow: str) -> list[str]:
    """Comments in the place of policies that have to be completed by hand. `workflow`: the name of this one."""
    named = error_workflow(settings)
    if not named:
        return []
    return [
        f"n8n: errorWorkflow {named!r}. Import the workflow with that id into this folder, put",
        f"`workflow: {workflow}` into its error-trigger and the name of its file in the place of",
        f"{_file(named)}, and take out the comment signs:",
        "policies:",
        f"  error_workflow: {_file(named)}",
    ]


def _file(named: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in named)[:60]
    return f"error-workflow-{kept}.yaml"


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
    if error_workflow(settings):
        made.append(
            f"errorWorkflow {error_workflow(settings)!r} is written as a comment, `policies: {{error_workflow: FILE}}`"
            ": import that workflow into the same folder, name this one in its `error-trigger`, put its file there"
        )
    if settings.get("timezone"):
        made.append(f"timezone {settings['timezone']!r} is not carried over: times are UTC, see to_timezone")
    if settings.get("executionTimeout") not in (None, -1):
        made.append(f"executionTimeout {settings['executionTimeout']!r} is not carried over")
    told = {"executionOrder", "errorWorkflow", "timezone", "executionTimeout"} | _SILENT
    made += [f"the setting {name!r} is not known" for name in settings if name not in told]
    return made
