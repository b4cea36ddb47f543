"""`streamflow nodes`: the node kinds and their parameters."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from streamflow.cli.common import JsonOption
from streamflow.cli.output import fail, print_json, table


def nodes(
    kind: Annotated[str | None, typer.Argument(help="A node kind; without it, all kinds are listed.")] = None,
    json: JsonOption = False,
) -> None:
    """List the node kinds, or show one with all it takes."""
    from streamflow.nodes import registry

    kinds = registry().kinds
    if kind is None:
        rows = [(k, c.spec.category, " ".join((c.__doc__ or "").split("\n\n")[0].split())) for k, c in kinds.items()]
        if json:
            print_json([{"kind": k, "category": c, "description": d} for k, c, d in rows])
        else:
            short = [(k, c, d.partition(". ")[0].rstrip(".")) for k, c, d in rows]
            print(table(short, ("kind", "category", "what it does")))
        return
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, 1)
        fail(f"there is no node kind {kind!r}.", mend=f"Did you mean {near[0]!r}?" if near else "")
    if json:
        from streamflow.sdk.param_schema import json_schema

        print_json(json_schema(kinds[kind]))
    else:
        from streamflow.nodes.document import render

        page = render(kinds[kind])
        print(page[page.index("# ") :].rstrip("\n"))  # without the note on how the page is made
