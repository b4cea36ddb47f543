"""What became of an import: every node and every connection of the export is accounted for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from streamflow.workflow.n8n.problems import ImportRefused

NodeOutcome = Literal["mapped", "stub", "attached", "comment", "left_out"]
WireOutcome = Literal["connected", "rewired", "attached", "left_out"]

NODE_OUTCOMES = {
    "mapped": "became a node", "stub": "is a stub", "attached": "is kept in the stub that it belongs to",
    "comment": "is a comment", "left_out": "is written as a comment: nothing reaches it",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class NodeFate:
    """What became of a node. `id` and `kind`: of the node here that stands for it."""

    place: str
    name: str
    type: str
    version: float
    outcome: NodeOutcome
    id: str = ""
    kind: str = ""
    why: str = ""
    at: str = ""  # the parameter that is the reason
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        made: dict[str, object] = {
            "place": self.place, "name": self.name, "type": self.type, "version": self.version,
            "outcome": self.outcome,
        }  # fmt: skip
        for key in ("id", "kind", "why", "at", "notes"):
            if value := getattr(self, key):
                made[key] = value
        return made


@dataclass(slots=True, kw_only=True)
class WireFate:
    """What became of a connection. `now`: the connections here that stand for it."""

    place: str
    wire: str
    outcome: WireOutcome
    now: list[str] = field(default_factory=list)
    why: str = ""

    def to_json(self) -> dict[str, object]:
        made: dict[str, object] = {"place": self.place, "connection": self.wire, "outcome": self.outcome}
        if self.now:
            made["as"] = self.now
        if self.why:
            made["why"] = self.why
        return made


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that an import did. `added`: nodes here that no node of the export stands behind."""

    workflow: str
    name: str
    nodes: list[NodeFate]
    connections: list[WireFate]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    pinned: list[str] = field(default_factory=list)

    def check(self, nodes: int, connections: int) -> None:
        """Raises ImportRefused where something of the export is not accounted for: a defect, never shown as success."""
        if (len(self.nodes), len(self.connections)) != (nodes, connections):
            raise ImportRefused(
                f"the import accounts for {len(self.nodes)} of {nodes} nodes and {len(self.connections)} of "
                f"{connections} connections."
            )

    def counts(self) -> dict[str, dict[str, int]]:
        return {
            "nodes": dict(sorted(Counter(n.outcome for n in self.nodes).items())),
            "connections": dict(sorted(Counter(w.outcome for w in self.connections).items())),
        }

    def to_json(self) -> dict[str, object]:
        return {
            "workflow": self.workflow,
            "name": self.name,
            "counts": self.counts(),
            "nodes": [n.to_json() for n in self.nodes],
            "connections": [w.to_json() for w in self.connections],
            "unreadable": [{"place": place, "found": found} for place, found in self.unreadable],
            "added": self.added,
            "settings": self.settings,
            "variables": self.variables,
            "pinned": self.pinned,
        }

    def lines(self) -> list[str]:
        """For people: counts, then everything that is not as it was."""
        counts = self.counts()
        made = [
            f"{len(self.nodes)} nodes: " + ", ".join(f"{n} {o.replace('_', ' ')}" for o, n in counts["nodes"].items()),
            f"{len(self.connections)} connections: "
            + ", ".join(f"{n} {o.replace('_', ' ')}" for o, n in counts["connections"].items()),
        ]
        for node in self.nodes:
            who = f"{node.place} {node.name!r} ({node.type} {node.version:g})"
            if node.outcome in ("stub", "left_out"):
                at = f" at {node.at}" if node.at else ""
                made.append(f"{who} {NODE_OUTCOMES[node.outcome]}: {node.why}{at}")
            made += [f"{who}: {note}" for note in node.notes]
        made += [f"connection {w.wire} is left out: {w.why}" for w in self.connections if w.outcome == "left_out"]
        made += [f"{place}: {found}" for place, found in self.unreadable]
        made += [f"added: {what}" for what in self.added]
        made += [
            f"variable vars.{name} stands for {source}: give it a value" for name, source in self.variables.items()
        ]
        return made + self.settings + self.pinned
