"""Finds node kinds: built-in ones by a table of names, and plug-ins from the entry point group `streamflow.nodes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Final

from streamflow.sdk.errors import UsageError
from streamflow.sdk.node import Node

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class NodeRegistry:
    """Node classes by kind. No registration at import.

    `named`: kind -> `module:class`, imported when the kind is asked for. `parts` and `named_parts`: kinds that only the
    compiler places (see `Node.parts`).
    """

    def __init__(
        self,
        kinds: Iterable[type[Node]],
        parts: Iterable[type[Node]] = (),
        *,
        named: Mapping[str, str] = _NONE,
        named_parts: Mapping[str, str] = _NONE,
    ) -> None:
        self._named, self._named_parts = named, named_parts
        self._parts = {kind.spec.kind: kind for kind in parts}
        self._kinds: dict[str, type[Node]] = {}
        for kind in kinds:
            name = kind.spec.kind
            other = self._kinds.setdefault(name, kind)
            if other is not kind:
                raise _twice(name, other.__module__, kind.__module__)
            if name in named:
                raise _twice(name, named[name].partition(":")[0], kind.__module__)

    def get(self, kind: str) -> type[Node] | None:
        return _found(kind, self._kinds, self._named)

    def planned(self, kind: str) -> type[Node] | None:
        """The class of a node in a plan, where kinds stand that no document may name."""
        return self.get(kind) or _found(kind, self._parts, self._named_parts)

    @property
    def names(self) -> tuple[str, ...]:
        """All kinds that a document may name, sorted."""
        return tuple(sorted({*self._kinds, *self._named}))

    @property
    def kinds(self) -> Mapping[str, type[Node]]:
        """Classes by kind, sorted. Imports them all."""
        return {name: kind for name in self.names if (kind := self.get(name)) is not None}


def load(name: str) -> type[Node]:
    """The node class of `module:class`."""
    found: type[Node] = resolve_name(name)
    return found


def plugin_kinds() -> list[type[Node]]:
    """Node classes offered by installed packages: each entry point is a node class or a tuple of them."""
    found: list[type[Node]] = []
    for entry in sorted(entry_points(group="streamflow.nodes"), key=lambda e: e.name):
        loaded = entry.load()
        found.extend(loaded if isinstance(loaded, tuple) else (loaded,))
    return found


def _found(kind: str, classes: dict[str, type[Node]], named: Mapping[str, str]) -> type[Node] | None:
    if kind not in classes and kind in named:
        classes[kind] = load(named[kind])
    return classes.get(kind)


def _twice(kind: str, one: str, other: str) -> UsageError:
    return UsageError(
        f"node kind {kind!r} is defined by both {one} and {other}.",
        mend="Rename one of them.",
    )
