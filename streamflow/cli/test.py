"""`streamflow test`: run the cases of a workflow, without a log."""

from __future__ import annotations

import contextlib
import sys

import typer

from streamflow.cli.common import EnvironmentOption, FileArgument, JsonOption, compile_file
from streamflow.cli.output import fail, print_json


def run_cases(file: FileArgument, environment: EnvironmentOption = "", json: JsonOption = False) -> None:
    """Run the test cases of a workflow, without a log.

    Cases stand in the workflow and in *.test.yaml files beside it: given input items, expected items by node. Exit 1
    if one fails.
    """
    from streamflow.nodes import registry
    from streamflow.sdk.errors import StreamflowError
    from streamflow.testing.cases import run_case

    document, topology = compile_file(file, cases=True, environment=environment)
    if not document.tests:
        fail(f"{file} has no test cases.", mend="Put `tests:` into the workflow, or a file *.test.yaml beside it.")
    results = []
    for case in document.tests:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what functions of the workflow print
                differences = run_case(case, topology, nodes=registry(), functions=document.functions)
        except StreamflowError as error:
            differences = [str(error)]
        results.append({"case": case.name, "at": str(case.place), "ok": not differences, "differences": differences})
        if not json:
            print(f"ok    {case.name}" if not differences else f"FAIL  {case.name}   ({case.place})")
            for line in differences:
                print("      " + line.replace("\n", "\n      "))
    failed = sum(not r["ok"] for r in results)
    if json:
        print_json({"workflow": topology.workflow, "passed": len(results) - failed, "failed": failed, "cases": results})
    else:
        print(f"{len(results) - failed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)
