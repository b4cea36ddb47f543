"""Generates docs/n8n.md from the table of mappings: `python -m streamflow.workflow.n8n.document --write`."""

from __future__ import annotations

import sys
from pathlib import Path

from streamflow.workflow.n8n.js_functions import names_of_functions
from streamflow.workflow.n8n.js_methods import names_of_methods
from streamflow.workflow.n8n.table import MAPPINGS

PAGE = Path(__file__).parents[3] / "docs" / "n8n.md"


def page() -> str:
    """The whole page."""
    rows = [f"| {', '.join(f'`{k}`' for k in m.types)} | `{m.to}` | {m.help} |" for m in MAPPINGS]
    text = (Path(__file__).parent / "guide.md").read_text(encoding="utf-8")
    return (
        text.replace("NODES\n", "\n".join(rows) + "\n")
        .replace("METHODS", ", ".join(f"`{n}`" for n in names_of_methods()))
        .replace("FUNCTIONS", ", ".join(f"`{n}`" for n in names_of_functions()))
    )


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
