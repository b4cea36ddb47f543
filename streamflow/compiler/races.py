"""Branches that race to a merge of mode `first`: what stops on those that have lost.

A node belongs to a branch if its items can get to the merge by one port of it and nowhere else: nothing but that port
hears of them. Items that fail there are no way out of it. Where no such node keeps items or may act outside, there is
nothing to stop, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamflow.compiler.fuse import Groups
from streamflow.compiler.gather import GATHER
from streamflow.compiler.graph import FAILED_PORTS, Graph
from streamflow.nodes.gather import Gather, GatherSend
from streamflow.nodes.signal_wait import LostSignals
from streamflow.topology.plan import RacePlan

# Kinds that neither keep items nor act outside.
_AT_ONCE: Final = frozenset(("set", "filter", "if", "switch", "split", "no-op", "pass", "loop", "repartition"))


def races(graph: Graph) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """By gather: by port of the merge behind it, the nodes at which items end when that port has lost."""
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for send in (n for n in graph.order if isinstance(graph.nodes[n].node, GatherSend)):
        gather = f"{send.rpartition('.')[0]}.{GATHER}"
        node = graph.nodes[gather].node
        assert isinstance(node, Gather)
        if not (node.first and node.stops):
            continue
        sides = dict(zip(node.ports, node.sides, strict=True))
        branches = {side: _branch(graph, send, {p for p, s in sides.items() if s == side}) for side in sides.values()}
        if any(_worth_it(graph, nodes) for nodes in branches.values()):
            found[gather] = branches
    return found


def plans(graph: Graph, groups: Groups) -> Mapping[str, tuple[RacePlan, ...]]:
    """By stage: races that its gathers decide."""
    found = races(graph)
    return {
        group.id: tuple(RacePlan(node=g, branches=branches) for g, branches in found.items() if g in group.nodes)
        for group in groups.stages
    }


def _branch(graph: Graph, send: str, ports: set[str]) -> tuple[str, ...]:
    """Nodes that lead to these ports of `send` only."""
    inside = {n for n in graph.ancestors(send) if _fits(graph, n)}
    while more := _rounds(graph, inside, send) - inside:
        inside |= more
    while True:
        stays = {n for n in inside if _only(graph, n, inside, send, ports)}
        if stays == inside:
            return tuple(n for n in graph.order if n in stays)
        inside = stays


def _only(graph: Graph, node: str, inside: set[str], send: str, ports: set[str]) -> bool:
    ways = [e for e in (*graph.out_of(node), *graph.loops) if e.source == node and e.port not in FAILED_PORTS]
    ways = [e for e in ways if not isinstance(graph.nodes[e.target].node, LostSignals)]  # which are no items
    return bool(ways) and all(e.target_port in ports if e.target == send else e.target in inside for e in ways)


def _fits(graph: Graph, node: str) -> bool:
    """Whether a node can be on a branch: not the trigger, where it begins, nor one whose rows go on whatever comes."""
    found = graph.nodes[node]
    return found.node.spec.category != "trigger" and not found.lasting and bool(graph.into(node))


def _rounds(graph: Graph, inside: set[str], send: str) -> set[str]:
    """Bodies of loops across topics: nodes that lead back to some of these, without what is behind `send`."""
    behind = set().union(*(graph.descendants(n) for n in inside)) - {send} - graph.descendants(send)
    back = {n for n, loop in graph.returning.items() if n in behind and loop in inside}
    return {n for n in back.union(*map(graph.ancestors, back)) if _fits(graph, n)} - graph.descendants(send)


def _worth_it(graph: Graph, nodes: tuple[str, ...]) -> bool:
    def keeps_or_acts(node_id: str) -> bool:
        node = graph.nodes[node_id]
        at_once = node.kind.partition(".")[0] in _AT_ONCE or node.repartitions
        return not at_once or node.errors.retry.puts_aside or node_id in graph.across

    return any(map(keeps_or_acts, nodes))
