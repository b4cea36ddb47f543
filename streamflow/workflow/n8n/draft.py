"""The workflow document as it is put together, before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class DraftNode:
    """A node of the document. `commented`: written as a comment, for that reason. `index`: of n8n's node behind it."""

    id: str
    kind: str
    params: Mapping[str, object]
    index: int | None = None
    name: str = ""
    comments: tuple[str, ...] = ()
    disabled: bool = False
    notes: str = ""
    position: tuple[float, float] | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    on_error: str = ""
    retry: Mapping[str, int] | None = None
    commented: str = ""
    # Parameters where the items that come have a schema.
    when_typed: Mapping[str, object] | None = None

    def to_plain(self) -> dict[str, object]:
        """In the order that people read."""
        made: dict[str, object] = {"type": self.kind, **self.params}
        if self.name and self.name != self.id:
            made["name"] = self.name
        if self.disabled:
            made["disabled"] = True
        if self.notes:
            made["notes"] = self.notes
        if self.on_error:
            made["on_error"] = self.on_error
        if self.retry:
            made["retry"] = self.retry
        if self.credentials:
            made["credentials"] = self.credentials
        if self.position is not None:
            made["position"] = list(self.position)
        if self.version:
            made["metadata"] = {"version": self.version}
        return made


@dataclass(frozen=True, slots=True)
class End:
    """A port of a node of the document; "" is the only one that can be meant."""

    node: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.node}.{self.port}" if self.port else self.node


@dataclass(slots=True, kw_only=True)
class DraftWire:
    """A connection of the document. `commented`: written as a comment, for that reason."""

    source: End
    target: End
    commented: str = ""
    loop: bool = False  # it leads back to a loop

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(slots=True, kw_only=True)
class Draft:
    workflow: str
    title: str
    nodes: list[DraftNode] = field(default_factory=list)
    wires: list[DraftWire] = field(default_factory=list)
    vars: dict[str, str] = field(default_factory=dict)  # name -> where it came from
    texts: dict[str, str] = field(default_factory=dict)  # the same section: long texts by name
    tests: list[dict[str, object]] = field(default_factory=list)
    header: list[str] = field(default_factory=list)  # comments at the top
    footer: list[str] = field(default_factory=list)  # comments at the end
