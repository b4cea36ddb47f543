"""`streamflow dev kafka`: a real Apache Kafka on this machine, for development."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

dev = typer.Typer(help="Tools for development.", no_args_is_help=True)


@dev.callback()
def group() -> None:
    """Tools for development."""


@dev.command()
def kafka(
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder; it may be reused. Default: a temporary one.")] = None,
) -> None:
    """Start Apache Kafka in the foreground; prints `ready kafka://HOST:PORT` when it serves."""
    from streamflow.cli.dev_kafka import dev_kafka

    raise typer.Exit(dev_kafka(port, data))
