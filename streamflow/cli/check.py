"""`streamflow check`: is this workflow right? Every finding of the file at once."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from streamflow.cli.common import FileArgument, JsonOption, fail, print_json, use_color


def check(file: FileArgument, json: JsonOption = False) -> None:
    """Check a workflow: document, schemas and expressions. Exit 1 if it cannot run."""
    from streamflow.compiler import compile_document
    from streamflow.nodes import registry
    from streamflow.workflow.diagnostics import render, to_json
    from streamflow.workflow.load import load

    if not Path(file).is_file() and ".py:" not in str(file):
        fail(f"there is no file {str(file)!r}.", code=2)
    document, findings = load(file)
    topology = None
    if document is not None:
        topology, more = compile_document(document, registry())
        findings = [*findings, *more]
    wrong = topology is None or any(f.severity == "error" for f in findings)
    if json:
        print_json({"file": str(file), "ok": not wrong, "diagnostics": to_json(findings)})
    elif findings:
        print(render(findings, color=use_color()), file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
    if not json and topology is not None and document is not None:
        stages, topics = len(topology.stages), len(topology.topics)
        print(f"{file}: fine: {len(document.nodes)} nodes, {stages} stages, {topics} topics")
