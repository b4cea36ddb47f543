"""Finds node kinds: the built-in tuple, and plug-ins from the entry point group `streamflow.nodes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from streamflow.sdk.errors import UsageError
from streamflow.sdk.node import Node


class NodeRegistry:
    """Node classes by kind. Immutable once made; no registration at import.

    `parts`: kinds that only the compiler places (see `Node.parts`).
    """

    def __init__(self, kinds: Iterable[type[Node]], parts: Iterable[type[Node]] = ()) -> None:
        self._parts = {kind.spec.kind: kind for kind in parts}
        self._kinds: dict[str, type[Node]] = {}
        for kind in kinds:
            other = self._kinds.setdefault(kind.spec.kind, kind)
            if other is not kind:
                raise UsageError(
                    f"node kind {kind.spec.kind!r} is defined by both {other.__module__} and {kind.__module__}.",
                    mend="Rename one of them.",
                )

    def get(self, kind: str) -> type[Node] | None:
        return self._kinds.get(kind)

    def planned(self, kind: str) -> type[Node] | None:
        """The class of a node in a plan, where kinds stand that no document may name."""
        return self._kinds.get(kind) or self._parts.get(kind)

    @property
    def kinds(self) -> Mapping[str, type[Node]]:
        return dict(sorted(self._kinds.items()))


def plugin_kinds() -> list[type[Node]]:
    """Node classes offered by installed packages: each entry point is a node class or a tuple of them."""
    found: list[type[Node]] = []
    for entry in sorted(entry_points(group="streamflow.nodes"), key=lambda e: e.name):
        loaded = entry.load()
        found.extend(loaded if isinstance(loaded, tuple) else (loaded,))
    return found
