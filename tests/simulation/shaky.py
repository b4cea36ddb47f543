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


def several_when_well(item: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Two items of an even number, none of an odd one; fails for every third until a file says that all is well."""
    if item["n"] % 3 == 0 and not WELL.exists():
        raise ConnectionError("not well")
    return [item, item] if item["n"] % 2 == 0 else None
