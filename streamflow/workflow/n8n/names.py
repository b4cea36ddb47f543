"""Ids made of n8n's names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from streamflow.workflow.n8n.model import N8nNode

ID_CHARS_MAX = 48  # names of topics are made of the ids of a workflow and a node
_LETTERS = {"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l", "þ": "th", "ð": "d"}
# Keys that mean something else where node ids stand.
_TAKEN = frozenset(("stopped", "dead_letters", "true", "false", "null", "error"))


def slug(text: str) -> str:
    """Lower-case ASCII words joined by `-`; "" where nothing of the text is left. What begins with a digit gets `_`."""
    plain = "".join(_LETTERS.get(c, c) for c in text.lower())
    ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    made = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:ID_CHARS_MAX].strip("-")
    return f"_{made}" if made[:1].isdigit() else made


def node_ids(nodes: Iterable[N8nNode]) -> dict[int, str]:
    """A unique id for each node: its name, else its type, numbered where it repeats."""
    made: dict[int, str] = {}
    taken: set[str] = set(_TAKEN)
    for node in nodes:
        wanted = slug(node.name) or slug(node.type.rpartition(".")[2]) or "node"
        made[node.index] = unique(wanted, taken)
    return made


def unique(wanted: str, taken: set[str]) -> str:
    """The id, or the first free of `id-2`, `id-3`, …; it is taken then."""
    found, number = wanted, 2
    while found in taken:
        found, number = f"{wanted}-{number}", number + 1
    taken.add(found)
    return found
