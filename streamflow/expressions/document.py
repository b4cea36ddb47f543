"""docs/expressions.md from language.md and the function table: run as a module, it prints it."""

from __future__ import annotations

import sys
from importlib.resources import files

from streamflow.expressions.functions import FAMILIES, FUNCTIONS
from streamflow.expressions.limits import (
    BRACKETS_MAX,
    DEPTH_MAX,
    LAZY_DEPTH_MAX,
    LENGTH_MAX,
    LIST_ITEMS_MAX,
    PATTERN_CHARS_MAX,
    TEXT_CHARS_MAX,
    TOKENS_MAX,
    TRY_DEPTH_MAX,
)  # fmt: skip
from streamflow.expressions.problems import CODES
from streamflow.expressions.scope import META_NAMES
from streamflow.expressions.signatures import Function
from streamflow.sdk.expression import ITEM_ERROR_CODES, ITEM_ERROR_TEXTS


def render() -> str:
    """The whole document."""
    replaced = {
        "META": ", ".join(f"`meta.{n}`" for n in META_NAMES),
        "ITEM_ERRORS": "".join(f"| {ITEM_ERROR_CODES[c]} | {ITEM_ERROR_TEXTS[c]} |\n" for c in ITEM_ERROR_CODES),
        "PROBLEMS": "".join(f"| {code} | {text} |\n" for code, text in CODES.items()),
        "LENGTH": f"{LENGTH_MAX:,}",
        "TOKENS": f"{TOKENS_MAX:,}",
        "BRACKETS": str(BRACKETS_MAX),
        "DEPTH": str(DEPTH_MAX),
        "LAZY": str(LAZY_DEPTH_MAX),
        "TRY": str(TRY_DEPTH_MAX),
        "PATTERN": f"{PATTERN_CHARS_MAX:,}",
        "TEXT": f"{TEXT_CHARS_MAX:,}",
        "ITEMS": f"{LIST_ITEMS_MAX:,}",
    }
    text = files("streamflow.expressions").joinpath("language.md").read_text(encoding="utf-8")
    for word, by in replaced.items():
        text = text.replace(word, by)
    names = sorted({f.name for f in FUNCTIONS.values()})
    lines = [text, f"{len(names)} functions, by family.\n"]
    for family in FAMILIES:
        lines.append(f"\n### {family.TITLE}\n\n{family.INTRO}\n\n| function | what | example |\n|---|---|---|\n")
        lines += [_row(f) for f in family.FUNCTIONS]
    return "".join(lines)


def _row(function: Function) -> str:
    forms = [function.special] if function.special else [s.spelled(function.name) for s in function.signatures]
    shown = "<br>".join(f"`{f}`" for f in _folded(forms))
    also = f" Also: {', '.join(f'`{a}`' for a in function.aliases)}." if function.aliases else ""
    examples = "<br>".join(f"`{_cell(text)}` → `{_cell(result)}`" for text, result in function.examples)
    return f"| {shown} | {function.doc.replace('|', chr(92) + '|')}{also} | {examples} |\n"


def _folded(forms: list[str]) -> list[str]:
    return forms if len(forms) <= 6 else [*forms[:5], "…"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "\\n")


def main() -> None:
    sys.stdout.write(render())


if __name__ == "__main__":
    main()
