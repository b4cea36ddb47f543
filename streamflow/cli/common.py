"""What all commands share: where the log is, how results and errors are printed, and exit codes.

Exit codes: 0 fine, 1 the workflow or the data is wrong, 2 usage.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from streamflow.sdk.log import Log
    from streamflow.topology.plan import Topology
    from streamflow.workflow.model import WorkflowDocument

DEFAULT_LOG = ".streamflow/log"
T = TypeVar("T")

LogOption = Annotated[
    str, typer.Option("--log", envvar="STREAMFLOW_LOG", help="A folder, or kafka://HOST:PORT.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
FileArgument = Annotated[Path, typer.Argument(help="The workflow: a .yaml file, or a .py file with a `workflow`.")]


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Print an error and leave."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def use_color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fast event loop; errors of ours become exit code 1."""
    import uvloop

    from streamflow.sdk.errors import StreamflowError, UsageError

    try:
        return uvloop.run(work)
    except UsageError as error:
        fail(str(error), code=2)
    except StreamflowError as error:
        fail(str(error))
    except BrokenPipeError:
        # The reader of our output is gone, as in `streamflow tail … | head`: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def table(rows: list[tuple[object, ...]], headers: tuple[str, ...]) -> str:
    """Left-aligned columns; numbers to the right."""
    texts = [tuple(f"{c:,}" if isinstance(c, int) and not isinstance(c, bool) else str(c) for c in r) for r in rows]
    widths = [max(len(h), *(len(r[i]) for r in texts)) if texts else len(h) for i, h in enumerate(headers)]
    right = [all(isinstance(r[i], int | float) for r in rows) and bool(rows) for i in range(len(headers))]
    lines = []
    for cells in (headers, *texts):
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def compile_file(file: Path, *, quiet: bool = False) -> tuple[WorkflowDocument, Topology]:
    """Load and compile a workflow; print what is wrong and leave with 1 if it cannot run, 2 if there is no such file."""
    from streamflow.compiler import compile_document
    from streamflow.nodes import registry
    from streamflow.workflow.diagnostics import render
    from streamflow.workflow.load import load

    if not Path(str(file).rpartition(".py:")[0] + ".py" if ".py:" in str(file) else file).is_file():
        fail(f"there is no file {str(file)!r}.", code=2)
    document, findings = load(file)
    topology = None
    if document is not None:
        topology, more = compile_document(document, registry())
        findings = [*findings, *more]
    if findings and not quiet:
        print(render(findings, color=use_color()), file=sys.stderr)
    if document is None or topology is None or any(f.severity == "error" for f in findings):
        raise typer.Exit(1)
    return document, topology


def open_log_at(address: str) -> Log:
    from streamflow.logs import open_log
    from streamflow.sdk.errors import StreamflowError

    try:
        return open_log(address)
    except StreamflowError as error:
        fail(str(error), code=2)


def schema_registry(log_address: str, named: str = "") -> Any:
    """The registry that a workflow names, else the folder `schemas` inside an embedded log."""
    from streamflow.codecs.registry import FileRegistry, HttpRegistry

    if named.startswith(("http://", "https://")):
        return HttpRegistry(named)
    if named:
        return FileRegistry(Path(named))
    if log_address.startswith("kafka://"):
        return FileRegistry(Path("schemas"))
    return FileRegistry(Path(log_address) / "schemas")
