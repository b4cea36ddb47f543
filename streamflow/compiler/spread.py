"""Whether all rows of an execution get to a node together: in one task, and of one step where executions are items.

Rows of an execution that began as one item are together as long as they are in one step: a topic cuts them apart, and
so does a node that holds some of them back. Executions that span steps (run, file, request) are together in one
partition, until their end is announced on the topic by which they came: a stage that they enter by two topics would
hear of the end on one while rows are still coming on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from streamflow.compiler.graph import Graph
from streamflow.model.policies import Extent
from streamflow.nodes.gather import Gather
from streamflow.sdk.node import Repartitions


@dataclass(frozen=True, slots=True)
class Spread:
    """Why rows of an execution are apart, and what is to be done about it."""

    why: str
    mend: str


def several_rows(graph: Graph, node_id: str) -> bool:
    """Whether one trigger item may reach `node_id` as several rows: something multiplied it, or branches of it meet."""
    above = graph.ancestors(node_id)
    if any(graph.nodes[n].node.gives_several() for n in above):
        return True
    for meeting in (*above, node_id):
        arriving = graph.into(meeting)
        if len(arriving) > 1:
            lines = [graph.ancestors(e.source) | {e.source} for e in arriving]
            if any(a & b for i, a in enumerate(lines) for b in lines[i + 1 :]):
                return True
    return False


class Spreads:
    """What takes rows of one execution apart before they reach a node of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def before(self, node_id: str, extent: Extent) -> Spread | None:
        """The first thing that does so; None if the rows are together at the node."""
        above = since_gathered(self._graph, node_id)
        for here in (*(n for n in self._graph.order if n in above), node_id):
            # Whoever ends an execution that spans steps ends it in all of its stage.
            inputs = self._entries[here] if extent == "item" else self._stage_entries[here]
            for one, other in combinations(sorted(inputs), 2):
                if triggers(self._graph, one) & triggers(self._graph, other):
                    return Spread(
                        f"they come by {one!r} and by {other!r}, which are two topics",
                        "Put it before the branches, or bring all rows through one repartition",
                    )
            if here != node_id and (found := _apart(self._graph, here, node_id, extent)):
                return found
        return None

    @cached_property
    def _entries(self) -> Mapping[str, frozenset[str]]:
        """Triggers and repartitions whose topics rows come from, by node that they get to without another topic."""
        found: dict[str, frozenset[str]] = {}
        for node_id in self._graph.order:
            arriving = self._graph.into(node_id)
            found[node_id] = frozenset().union(
                *({e.source} if self._graph.enters(e) else found[e.source] for e in arriving)
            )
        return found

    @cached_property
    def _stage_entries(self) -> Mapping[str, frozenset[str]]:
        """The same by node for all of its stage: what runs together is joined by wires, or fed by the same topic."""
        stages: dict[str, list[str]] = {n: [n] for n in self._graph.nodes}
        fed: dict[str, str] = {}
        for edge in self._graph.edges:
            joined = fed.setdefault(edge.source, edge.target) if self._graph.enters(edge) else edge.source
            one, other = stages[joined], stages[edge.target]
            if one is not other:
                one.extend(other)
                stages.update(dict.fromkeys(other, one))
        found: dict[int, frozenset[str]] = {}
        for members in stages.values():
            if id(members) not in found:
                found[id(members)] = frozenset().union(*(self._entries[n] for n in members))
        return {n: found[id(members)] for n, members in stages.items()}


def since_gathered(graph: Graph, node_id: str) -> frozenset[str]:
    """Nodes whose rows can reach `node_id` without being gathered on the way, and those that gather them."""
    found: set[str] = set()
    front = [node_id]
    while front:
        for edge in graph.into(front.pop()):
            if edge.source not in found:
                found.add(edge.source)
                if not gathers(graph, edge.source):
                    front.append(edge.source)
    return frozenset(found)


def gathers(graph: Graph, node_id: str) -> bool:
    """Whether rows of an execution leave a node all at once, however they came."""
    node = graph.nodes[node_id].node
    return isinstance(node, Gather) and not node.first


def triggers(graph: Graph, node_id: str) -> frozenset[str]:
    """Triggers whose items reach a node, or itself."""
    above = graph.ancestors(node_id) | {node_id}
    return frozenset(n for n in above if not graph.into(n) and graph.nodes[n].node.starts_executions())


def _around(graph: Graph, node_id: str, target: str) -> bool:
    """Whether rows get to `target` past a node: then that may keep some of an execution, and others are there."""
    seen, front = {node_id}, [target]
    while front:
        here = front.pop()
        aside = {p.name for p in graph.nodes[here].node.input_ports() if p.aside}
        for edge in graph.into(here):
            if edge.source in seen or edge.target_port in aside:
                continue
            seen.add(edge.source)
            if not graph.into(edge.source) or gathers(graph, edge.source):
                return True
            front.append(edge.source)
    return False


def _apart(graph: Graph, node_id: str, target: str, extent: Extent) -> Spread | None:
    """How the node itself takes rows of one execution apart that are on their way to `target`."""
    node = graph.nodes[node_id].node
    alone = not several_rows(graph, node_id) and not _around(graph, node_id, target)
    if extent == "item" and alone and node_id not in graph.across:
        return None  # of a loop the body may make several
    before = f"Put it before {node_id!r}"
    if isinstance(node, Repartitions) and node.spread_over() != 1:
        mend = before if extent == "item" else f"{before}, or give {node_id!r} one partition"
        return Spread(f"{node_id!r} spreads them over several partitions", mend)
    if isinstance(node, Repartitions) and extent == "item":
        return Spread(f"{node_id!r} sends them through a topic, where the rows of an item lose each other", before)
    if node.scatters_executions() or graph.nodes[node_id].errors.retry.puts_aside:
        return Spread(f"{node_id!r} lets them go at different times", before)
    return None
