"""The workflow that hears of another one's errors: it stands beside it and has triggers that read its errors."""

from __future__ import annotations

from pathlib import Path

from streamflow.compiler.codes import ERROR_WORKFLOW
from streamflow.sdk.places import Diagnostic
from streamflow.workflow import WorkflowDocument, load
from streamflow.workflow.beside import beside
from streamflow.workflow.diagnostics import has_errors

_KIND = "error-trigger"


def check_error_workflow(document: WorkflowDocument) -> list[Diagnostic]:
    """What is wrong with the error workflow that the policies name."""
    wanted = document.policies.error_workflow
    if wanted is None:
        return []
    place = document.policies.places.get("error_workflow", document.place)

    def refuse(message: str, mend: str) -> list[Diagnostic]:
        return [Diagnostic(place=place, code=ERROR_WORKFLOW, message=f"error_workflow: {message}", mend=mend)]

    if "timed_out" in wanted.also and not document.policies.timeout_ms:
        return refuse(
            "nothing is ever timed_out: there is no `timeout`.", "Give one below `policies:`, or leave it out."
        )
    if "cancelled" in wanted.also and document.policies.executions == "none":
        mend = "Write `executions: all` (or `errors`) below `policies:`, or leave it out."
        return refuse("no execution is ever cancelled: executions leave no records.", mend)
    named = wanted.file if Path(wanted.file).suffix in (".yaml", ".yml") else f"{wanted.file}.yaml"
    file = beside(document.base_folder, named)
    trigger = f"`failed: {{type: {_KIND}, workflow: {document.name}}}`"
    if isinstance(file, str):
        return refuse(f"{named!r}: {file}.", "Give the name of a file in the folder of this workflow or below it.")
    if document.source and file.resolve() == Path(document.source).resolve():
        return refuse(f"{named!r} is this workflow.", "Put what handles errors into another file.")
    if not file.is_file():
        return refuse(f"there is no file {named!r}.", f"Make it, with the trigger {trigger}.")
    other, findings = load(file)
    if other is None or has_errors(findings):
        return refuse(f"{named!r} cannot be read.", f"`streamflow check {named}` tells what is wrong with it.")
    read = [
        entry.params.values.get("reads", "dead_letters")
        for entry in other.nodes
        if entry.type == _KIND and not entry.disabled and entry.params.values.get("workflow") == document.name
    ]
    if not read:
        return refuse(f"workflow {other.name!r} in {named!r} has no trigger for this one.", f"Add {trigger} there.")
    if wanted.also and "handled" not in read:
        mend = f"Add {trigger.removesuffix('}`')}, reads: handled}}` there, or leave out `also`."
        return refuse(f"nothing in {named!r} reads the errors that are handled ({', '.join(wanted.also)}).", mend)
    return []
