"""What part each node of an export plays: it is in the flow of items, belongs to another node, or is a note."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from streamflow.workflow.n8n.model import Export, N8nWire
from streamflow.workflow.n8n.table import STICKY, is_trigger

MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Nodes by index. `attached`: node -> the node of the flow that it belongs to, as models and tools to an agent."""

    notes: frozenset[int]
    flow: frozenset[int]
    triggers: frozenset[int]
    attached: Mapping[int, int]


def roles_of(export: Export) -> Roles:
    notes = {node.index for node in export.nodes if node.type == STICKY}
    others = [wire for wire in export.wires if wire.type != MAIN]
    in_flow = {end for wire in export.wires if wire.type == MAIN for end in (wire.source, wire.target)}
    gives = {wire.source for wire in others}
    belongs = {n.index for n in export.nodes if n.index in gives and n.index not in in_flow and n.index not in notes}
    flow = {n.index for n in export.nodes} - notes - belongs
    into: dict[int, list[int]] = defaultdict(list)
    for wire in others:
        if wire.source is not None and wire.target is not None:
            into[wire.source].append(wire.target)
    attached: dict[int, int] = {}
    for index in sorted(belongs):
        owner = _owner(index, into, flow)
        if owner is None:
            flow.add(index)  # nothing in the flow has it: it stands alone
        else:
            attached[index] = owner
    triggers = {n.index for n in export.nodes if n.index in flow and is_trigger(n.type)}
    return Roles(notes=frozenset(notes), flow=frozenset(flow), triggers=frozenset(triggers), attached=attached)


def _owner(index: int, into: Mapping[int, list[int]], flow: Iterable[int]) -> int | None:
    """The node of the flow that is reached first along connections that carry no items."""
    level, seen = [index], {index}
    while level:
        following = [other for one in level for other in into.get(one, ()) if other not in seen]
        for other in following:
            if other in flow:
                return other
        seen.update(following)
        level = following
    return None


def reached(starts: Iterable[int], wires: Iterable[N8nWire]) -> set[int]:
    """Nodes that items of some nodes get to."""
    after: dict[int, list[int]] = defaultdict(list)
    for wire in wires:
        if wire.source is not None and wire.target is not None and wire.type == MAIN:
            after[wire.source].append(wire.target)
    found: set[int] = set()
    left = list(starts)
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += after[one]
    return found


def leading_back(starts: Iterable[int], wires: Iterable[N8nWire]) -> set[int]:
    """Wires (by index) that close a cycle, when the graph is walked through from its starts in order."""
    after: dict[int, list[N8nWire]] = defaultdict(list)
    for wire in wires:
        if wire.source is not None and wire.target is not None and wire.type == MAIN:
            after[wire.source].append(wire)
    back: set[int] = set()
    state: dict[int, int] = {}  # 1 on the way, 2 done
    for start in starts:
        if start in state:
            continue
        stack: list[tuple[int, Iterator[N8nWire]]] = [(start, iter(after[start]))]
        state[start] = 1
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
                continue
            target = following.target
            assert target is not None
            if state.get(target) == 1:
                back.add(following.index)
            elif target not in state:
                state[target] = 1
                stack.append((target, iter(after[target])))
    return back
