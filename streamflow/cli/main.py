"""The `streamflow` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from streamflow import __version__
from streamflow.cli.audit import audit
from streamflow.cli.check import check
from streamflow.cli.dlq import dlq
from streamflow.cli.doctor import doctor
from streamflow.cli.init import init
from streamflow.cli.kafka import dev
from streamflow.cli.lag import lag
from streamflow.cli.nodes import nodes
from streamflow.cli.plan import plan
from streamflow.cli.reset import reset
from streamflow.cli.run import run
from streamflow.cli.send import send
from streamflow.cli.tail import tail
from streamflow.cli.test import test
from streamflow.cli.topics import topics

app = typer.Typer(
    name="streamflow",
    help="Workflows compiled into Kafka topics and columnar stream tasks, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (init, check, plan, run, send, tail, topics, lag, audit, reset, nodes, doctor, test):
    app.command()(command)
app.add_typer(dlq, name="dlq")
app.add_typer(dev, name="dev")


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
    """Options before the command."""


def main() -> None:
    """Entry point. Ctrl-C ends with 130 as shells expect."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
