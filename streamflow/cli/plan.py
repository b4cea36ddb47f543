"""`streamflow plan`: what a workflow becomes, and why each topic exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.common import EnvironmentOption, FileArgument, JsonOption, compile_file
from streamflow.cli.output import fail, print_json


def plan(
    file: FileArgument,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="PATH", help="Write a picture to this file; - is standard output.")
    ] = None,
    environment: EnvironmentOption = "",
    json: JsonOption = False,
) -> None:
    """Show what a workflow becomes, and why each topic exists."""
    from streamflow.topology.describe import describe
    from streamflow.topology.mermaid import to_mermaid
    from streamflow.topology.serialize import to_json
    from streamflow.topology.svg import to_svg

    if sum((mermaid, svg is not None, json)) > 1:
        fail("--mermaid, --svg and --json exclude each other.", code=2)
    _, topology = compile_file(file, environment=environment)
    if svg is not None:
        picture = to_svg(topology)
        if str(svg) == "-":
            print(picture)
            return
        try:
            svg.write_text(picture, encoding="utf-8")
        except OSError as error:
            fail(f"--svg {str(svg)!r} cannot be written: {error.strerror}.", code=2)
        print(f"wrote {svg}")
    elif json:
        print_json(to_json(topology))
    elif mermaid:
        print(to_mermaid(topology).rstrip("\n"))
    else:
        print(describe(topology).rstrip("\n"))
