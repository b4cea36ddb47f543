"""`streamflow plan`: what a workflow becomes, and why each topic exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamflow.cli.common import FileArgument, JsonOption, compile_file, print_json


def plan(
    file: FileArgument,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write a picture to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the topology: stages, topics, schemas, stores, and why each topic exists."""
    from streamflow.topology.describe import describe
    from streamflow.topology.mermaid import to_mermaid
    from streamflow.topology.serialize import to_json
    from streamflow.topology.svg import to_svg

    _, topology = compile_file(file)
    if svg is not None:
        svg.write_text(to_svg(topology))
        print(f"wrote {svg}")
    elif json:
        print_json(to_json(topology))
    elif mermaid:
        print(to_mermaid(topology))
    else:
        print(describe(topology))
