"""The `streamflow` command."""

from __future__ import annotations

import gc
from typing import Annotated, Any

import typer
import typer.core

from streamflow import __version__
from streamflow.cli.audit import audit
from streamflow.cli.bench import bench
from streamflow.cli.check import check
from streamflow.cli.dlq import dlq
from streamflow.cli.doctor import doctor
from streamflow.cli.executions import executions
from streamflow.cli.import_ import import_app
from streamflow.cli.init import init
from streamflow.cli.kafka import dev
from streamflow.cli.lag import lag
from streamflow.cli.memory import keep_memory
from streamflow.cli.nodes import nodes
from streamflow.cli.output import told_errors
from streamflow.cli.plan import plan
from streamflow.cli.reset import reset
from streamflow.cli.run import run
from streamflow.cli.send import send
from streamflow.cli.serve import serve
from streamflow.cli.signal import signal
from streamflow.cli.state import state
from streamflow.cli.tail import tail
from streamflow.cli.test import run_cases
from streamflow.cli.topics import topics
from streamflow.cli.worker import worker


class _Commands(typer.core.TyperGroup):
    """All commands, with one place for what becomes of errors."""

    def invoke(self, ctx: Any) -> Any:
        with told_errors():
            return super().invoke(ctx)


app = typer.Typer(
    name="streamflow",
    cls=_Commands,
    help="Workflows compiled into Kafka topics and columnar stream tasks, exactly once.",
    epilog="Exit codes: 0 fine, 1 the workflow or the data is wrong, 2 called wrongly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich alone would take longer to load than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.command()(check)
app.command("test")(run_cases)
for command in (plan, run, worker, bench, send, signal, serve, tail, topics, state, lag, audit, reset, nodes, doctor):
    app.command()(command)
app.add_typer(dlq, name="dlq")
app.add_typer(executions, name="executions")
app.add_typer(dev, name="dev")
app.add_typer(import_app, name="import")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"streamflow {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Workflows compiled into Kafka topics and columnar stream tasks, exactly once."""


def main() -> None:
    """Entry point."""
    # A command loads hundreds of modules; looking for garbage among them takes a fifth of its start.
    # `run_async` looks again, from where the work begins.
    gc.disable()
    keep_memory()
    app()


if __name__ == "__main__":
    main()
