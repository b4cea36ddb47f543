"""Ids of workflows and nodes: they become parts of topic names and of names in expressions."""

from __future__ import annotations

import re

ID_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]*"


def is_id(text: str) -> bool:
    return re.fullmatch(ID_PATTERN, text) is not None


def as_id(text: str) -> str:
    """The nearest id to a text; "" if nothing of it can stay."""
    fixed = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")
    fixed = fixed if not fixed or is_id(fixed) else f"_{fixed}"
    return fixed if is_id(fixed) else ""


def id_mend(text: str) -> str:
    near = as_id(text)
    return f"Write {near!r}." if near else "Use letters, digits, '_' and '-', not beginning with a digit."
