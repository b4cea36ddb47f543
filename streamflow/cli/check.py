"""`streamflow check`: is this workflow right? Every finding of the file at once."""

from __future__ import annotations

import sys

import typer

from streamflow.cli.common import EnvironmentOption, FileArgument, JsonOption, load_file
from streamflow.cli.output import counted, print_json, use_color


def check(file: FileArgument, environment: EnvironmentOption = "", json: JsonOption = False) -> None:
    """Say what is wrong with a workflow, all at once.

    Document, schemas, expressions and test cases are checked. Exit 1 if it cannot run.
    """
    from streamflow.workflow.diagnostics import render, to_json

    document, topology, findings = load_file(file, cases=True, environment=environment)
    if json:
        print_json({"file": str(file), "ok": topology is not None, "diagnostics": to_json(findings)})
    elif findings:
        print(render(findings, color=use_color()), file=sys.stderr)
    if document is None or topology is None:
        raise typer.Exit(1)
    if not json:
        parts = (len(document.nodes), "node"), (len(topology.stages), "stage"), (len(topology.topics), "topic")
        print(f"{file}: fine: {', '.join(counted(n, what) for n, what in parts)}")
