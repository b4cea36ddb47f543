"""Functions that fail, for workflows that run in processes of their own or are replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WELL = Path("well")  # in the folder where the process runs


def thirds(item: dict[str, Any]) -> dict[str, Any]:
    """Fails for every third number, always."""
    if item["n"] % 3 == 0:
        raise ValueError(f"{item['n']} is a third")
    return item


def until_well(item: dict[str, Any]) -> dict[str, Any]:
    """Fails for key 3 until a file says that all is well."""
    if item["k"] == 3 and not WELL.exists():
        raise ConnectionError("not well")
    return item
