"""Where items with and without a schema would meet, they go through a merge, which takes both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from streamflow.workflow.model import ERROR_PORT
from streamflow.workflow.n8n.draft import DraftNode, DraftWire, End
from streamflow.workflow.n8n.names import unique

# Kinds that hand on items as they come: with a schema where they had one.
_HANDING_ON = frozenset(
    (
        "if",
        "filter",
        "switch",
        "no-op",
        "limit",
        "sort",
        "dedupe",
        "merge",
        "rename",
        "set",
        "split",
        "stop-and-error",
        "wait",
        "loop",
    )
)


def bring_together(
    nodes: list[DraftNode],
    wires: list[DraftWire],
    typed: Mapping[str, bool],
    taken: set[str],
    added: list[DraftNode],
) -> None:
    """Put merges where they are needed, and take the parameters that nodes have for items with a schema."""
    by_id = {node.id: node for node in nodes if not node.commented}
    into: dict[End, list[DraftWire]] = defaultdict(list)
    for wire in wires:
        if not (wire.commented or wire.loop) and wire.source.node in by_id and wire.target.node in by_id:
            into[wire.target].append(wire)
    made: dict[str, bool] = {}  # by node: whether what it gives has a schema
    came: dict[str, bool] = {}  # whether what it takes has one: what fails leaves as it came

    def has_schema(wire: DraftWire) -> bool:
        return (came if wire.source.port == ERROR_PORT else made).get(wire.source.node, False)

    for node in _in_order(by_id, wires):
        entering = [w for target, ws in into.items() if target.node == node.id for w in ws]
        if node.kind == "merge":
            arriving = bool(entering) and all(has_schema(w) for w in entering)
        else:
            arriving = any(has_schema(w) for w in entering)
            for target, ws in list(into.items()):
                if target.node == node.id and len(ws) > 1 and any(has_schema(w) for w in ws):
                    arriving = all(has_schema(w) for w in ws)
                    _merge(target, ws, nodes, wires, taken, added)
        came[node.id] = arriving
        if arriving and node.when_typed is not None:
            node.params = node.when_typed
            made[node.id] = True
        else:
            made[node.id] = typed.get(node.id, False) or (node.kind in _HANDING_ON and arriving)


def _merge(
    target: End, entering: list[DraftWire], nodes: list[DraftNode], wires: list[DraftWire], taken: set[str],
    added: list[DraftNode],
) -> None:  # fmt: skip
    made = DraftNode(
        id=unique(f"{target.node}-in", taken), kind="merge", params={},
        comments=("Items with and without a schema come together.",),
    )  # fmt: skip
    nodes.append(made)
    added.append(made)
    for wire in entering:
        wire.target = End(made.id)
    wires.append(DraftWire(source=End(made.id), target=target))


def _in_order(nodes: Mapping[str, DraftNode], wires: list[DraftWire]) -> list[DraftNode]:
    """Nodes behind all that lead to them; the graph has no cycles."""
    after: dict[str, list[str]] = defaultdict(list)
    waiting: dict[str, int] = dict.fromkeys(nodes, 0)
    for wire in wires:
        if not (wire.commented or wire.loop) and wire.source.node in nodes and wire.target.node in nodes:
            after[wire.source.node].append(wire.target.node)
            waiting[wire.target.node] += 1
    ready = [node for node, count in waiting.items() if not count]
    made: list[DraftNode] = []
    while ready:
        one = ready.pop()
        made.append(nodes[one])
        for other in after[one]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return made
