"""The connections of an export between the nodes that were made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamflow.sdk.node import Node
from streamflow.workflow.model import ERROR_PORT
from streamflow.workflow.n8n.draft import DraftNode, DraftWire, End
from streamflow.workflow.n8n.made import Made, port_of
from streamflow.workflow.n8n.make_control import BACK, LOOP
from streamflow.workflow.n8n.model import Export, N8nNode, N8nWire
from streamflow.workflow.n8n.names import unique
from streamflow.workflow.n8n.report import WireFate, WireOutcome
from streamflow.workflow.n8n.roles import MAIN, Roles

CONTINUE_REGULAR, CONTINUE_ERROR = "continueRegularOutput", "continueErrorOutput"


@dataclass(slots=True)
class Wiring:
    """Connects what was made. `made`: by index of n8n's node; `entries`: the id by which items come into each."""

    export: Export
    roles: Roles
    made: Mapping[int, Made]
    ids: Mapping[int, str]
    entries: Mapping[int, str]
    kinds: Mapping[str, type[Node]]
    taken: set[str]
    refused: Mapping[int, str]  # wires that the check of the workflow refused
    back: set[int]
    left: Mapping[int, str]  # nodes that nothing reaches, and why
    wires: list[DraftWire] = field(default_factory=list)
    fates: list[WireFate] = field(default_factory=list)
    added: list[DraftNode] = field(default_factory=list)
    parts: list[list[DraftWire]] = field(default_factory=list)  # what stands for each wire of the export
    _nodes: dict[int, N8nNode] = field(default_factory=dict)
    _by_ends: dict[tuple[End, End], tuple[tuple[int, int, int, int], DraftWire]] = field(default_factory=dict)

    def connect(self) -> None:
        """Go through all wires of the export, each of which gets its line of the report."""
        for wire in self.export.wires:
            fate = WireFate(place=wire.place, wire=str(wire), outcome="connected")
            self.fates.append(fate)
            self.parts.append([])
            why = self._why_not(wire)
            if why is not None:
                fate.outcome, fate.why = why
                if fate.outcome == "left_out" and wire.source in self.ids and wire.target in self.ids:
                    self._comment(wire, fate.why)
                continue
            self._wire(wire, fate)

    def _why_not(self, wire: N8nWire) -> tuple[WireOutcome, str] | None:
        if wire.source is None or wire.target is None:
            name = wire.source_name if wire.source is None else wire.target_name
            return "left_out", f"there is no node {name!r}"
        if wire.type != MAIN:
            attached = self.roles.attached
            if wire.source in attached:
                return "attached", "it carries no items: what gives it is kept in the stub"
            return "left_out", f"a connection of type {wire.type} carries no items"
        if wire.target in self.roles.notes or wire.source in self.roles.notes:
            return "left_out", "a note is no part of the flow"
        if wire.index in self.refused:
            return "left_out", self.refused[wire.index]
        for end in (wire.source, wire.target):
            if end in self.left:
                return "left_out", self.left[end]
        if wire.target in self.roles.triggers:
            return "left_out", "a trigger takes no items"
        if wire.index in self.back and self.made[wire.target].kind != LOOP:
            return "left_out", "it leads back: there is no loop here"
        return None

    def _wire(self, wire: N8nWire, fate: WireFate) -> None:
        assert wire.source is not None
        assert wire.target is not None
        made, into = self.made[wire.source], self.made[wire.target]
        port = self._source_port(wire, made)
        looping = wire.index in self.back
        entry = BACK if looping else port_of(into.inputs, wire.input)
        why = ""
        if port is None:
            disabled = self._node(wire.source).disabled
            why = "the node is disabled: nothing fails in it" if disabled else f"{made.kind} cannot fail here"
        elif looping and port == ERROR_PORT:
            why = "an item that fails leaves the loop"
        elif entry == "":
            why = into.unwired
        elif port == "":
            why = made.unwired
        if why and (made.outputs or port is None):
            fate.outcome, fate.why = "left_out", why
            self._comment(wire, why)
            return
        target = End(self.entries[wire.target], "" if entry == "in" else entry)
        if not made.outputs and port != ERROR_PORT:
            self._past(wire, target, fate)
            return
        source = End(self.ids[wire.source], "" if port == "out" else str(port))
        self._join(source, target, (wire.source, wire.output, wire.target, wire.input), fate)

    def _source_port(self, wire: N8nWire, made: Made) -> str | None:
        """Our port of an output; None where it is the error output of a kind that cannot fail."""
        assert wire.source is not None
        node = self._node(wire.source)
        regular = max(1, len(made.outputs)) if len(made.outputs) != 1 else 1
        if node.on_error == CONTINUE_ERROR and wire.output >= regular:
            return ERROR_PORT if self._can_fail(made) and not node.disabled else None
        return port_of(made.outputs, wire.output)

    def _can_fail(self, made: Made) -> bool:
        kind = self.kinds.get(made.kind)
        return kind is not None and kind.spec.can_fail

    def _past(self, wire: N8nWire, target: End, fate: WireFate) -> None:
        """Behind a node that hands nothing on: what went into it goes there too."""
        fate.outcome, fate.why = "rewired", f"{self.made[wire.source].kind} hands nothing on: items go there too"  # type: ignore[index]
        before = [w for w in self.export.wires if w.target == wire.source and self._why_not(w) is None]
        for other in before:
            assert other.source is not None
            port = self._source_port(other, self.made[other.source])
            if not port:
                continue
            source = End(self.ids[other.source], "" if port == "out" else port)
            self._join(source, target, (other.source, other.output, wire.target or 0, wire.input), fate)
        if not self.parts[-1]:
            fate.outcome, fate.why = "left_out", "nothing comes that could be handed on"

    def _join(self, source: End, target: End, ends: tuple[int, int, int, int], fate: WireFate) -> None:
        """Connect two ports. Ports may be joined once: a second wire between other ports of n8n goes by a no-op."""
        known = self._by_ends.get((source, target))
        if known is None:
            wire = DraftWire(source=source, target=target, loop=target.port == BACK)
            self._by_ends[source, target] = ends, wire
            self.wires.append(wire)
        elif known[0] == ends:
            wire, fate.why = known[1], "it was there twice"
        else:
            between = unique(f"{source.node}-again", self.taken)
            self.added.append(DraftNode(id=between, kind="no-op", params={}, comments=("The same items once more.",)))
            both = [DraftWire(source=source, target=End(between)), DraftWire(source=End(between), target=target)]
            self.wires += both
            self.parts[-1] += both
            return
        self.parts[-1].append(wire)

    def settle(self) -> None:
        """The report's lines, once all is connected: what stands for each wire, or that it was left out in the end."""
        for fate, parts in zip(self.fates, self.parts, strict=True):
            if fate.outcome not in ("connected", "rewired"):
                continue
            if gone := next((part.commented for part in parts if part.commented), ""):
                fate.outcome, fate.why = "left_out", gone
            else:
                fate.now = [str(part) for part in parts]

    def continued(self, node: N8nNode, made: Made) -> tuple[str, list[str]]:
        """(on_error, notes) of a node that goes on after failures. Failed items go where its items go, by `error`."""
        if node.disabled or node.on_error not in (CONTINUE_REGULAR, CONTINUE_ERROR):
            return "", []
        if not self._can_fail(made):
            return "", [f"onError has no meaning here: {made.kind} cannot fail"]
        here = self.ids[node.index]
        if any(w.source == End(here, ERROR_PORT) for w in self.wires if not w.commented):
            return "", []
        first = made.outputs[0] if made.outputs else ""
        source = End(here, "" if first == "out" else first)
        follows = [w.target for w in self.wires if w.source == source and not (w.commented or w.loop)]
        if node.on_error == CONTINUE_ERROR or not follows:
            return "continue", ["items that fail end here: nothing takes them"]
        for target in follows:
            self.wires.append(DraftWire(source=End(here, ERROR_PORT), target=target))
        return "", ["items that fail go on too, by its error port to the same nodes"]

    def _comment(self, wire: N8nWire, why: str) -> None:
        assert wire.source is not None
        assert wire.target is not None
        ends = (End(self.ids[i]) for i in (wire.source, wire.target))
        self.wires.append(DraftWire(source=next(ends), target=next(ends), commented=why))

    def _node(self, index: int) -> N8nNode:
        if not self._nodes:
            self._nodes.update((node.index, node) for node in self.export.nodes)
        return self._nodes[index]


def drop_unreached(nodes: list[DraftNode], wires: list[DraftWire], triggers: set[str]) -> set[str]:
    """Ids of nodes that items of no trigger get to, by what was connected in the end."""
    after: dict[str, list[str]] = defaultdict(list)
    for wire in wires:
        if not wire.commented:
            after[wire.source.node].append(wire.target.node)
    found: set[str] = set()
    left = list(triggers)
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += after[one]
    return {node.id for node in nodes if node.id not in found and not node.commented}
