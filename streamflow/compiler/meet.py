"""Branches that meet again behind a repartition of one of them: the others go through a topic as well.

A stage cannot both write a topic and read it. Where a branch waits for a signal, or is partitioned anew, and then joins
the branches beside it, those would be in the stage before it and in the one behind. So a repartition that leaves rows
in their partitions is put into each of them, where they meet. Nothing is put in where all rows of an execution have to
be together behind that: there the workflow is refused, as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamflow.compiler.fuse import components, entry, start_of
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.compiler.partition import staying
from streamflow.nodes.gather import Gather
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.failures import put_in


def meet(graph: Graph, registry: NodeRegistry) -> Graph:
    """The graph without stages that would have to read what they write, as far as that can be helped."""
    kind = registry.get("repartition")
    level = levels(graph)
    early: list[Edge] = []
    for component in _reading_themselves(graph):
        inside = [e for e in graph.edges if {start_of(graph, e), e.target} <= component]
        found = [e for e in inside if level[e.target] > level[e.source] + graph.enters(e)]
        if not any(_needs_all(graph, e.target) for e in found):
            early += found
    if kind is None or not early:
        return graph
    nodes, edges = dict(graph.nodes), [e for e in graph.edges if e not in early]
    for edge in early:
        place = edge.place if edge.place.line else graph.nodes[edge.source].place
        raw = RawParams(values=staying(place), places={("partition",): place}, place=place)
        made, findings = build(kind, raw)
        assert made is not None, findings
        between = f"{edge.target}.{edge.source}.{edge.port}".replace("~", "-")
        errors = put_in(graph.nodes[edge.source].errors)
        nodes[between] = GraphNode(id=between, kind="repartition", node=made, raw=raw, errors=errors)
        edges.append(replace(edge, target=between, target_port="in"))
        edges.append(replace(edge, source=between, port="out"))
    return replace(graph, nodes=nodes, edges=tuple(edges))


def levels(graph: Graph) -> Mapping[str, int]:
    """How many topics the rows of a node may have passed."""
    found: dict[str, int] = {}
    for node in graph.order:
        found[node] = max((found[e.source] + graph.enters(e) for e in graph.into(node)), default=0)
    return found


def _reading_themselves(graph: Graph) -> list[set[str]]:
    """Nodes of stages from which rows come back to them through topics."""
    stages = components(graph)
    home = {node: i for i, stage in enumerate(stages) for node in stage}
    reads: dict[int, set[int]] = {i: set() for i in range(len(stages))}
    for node_id, node in graph.nodes.items():
        if node.repartitions and entry(node_id) in home:
            reads[home[node_id]].add(home[entry(node_id)])
    return [stage for i, stage in enumerate(stages) if i in _behind(reads, i)]


def _behind(reads: Mapping[int, set[int]], begin: int) -> set[int]:
    seen: set[int] = set()
    front = list(reads[begin])
    while front:
        if (here := front.pop()) not in seen:
            seen.add(here)
            front += reads[here]
    return seen


def _needs_all(graph: Graph, node: str) -> bool:
    """Whether all rows of an execution have to be together behind a node, and are not gathered before.

    What lets the first branch pass counts as well: whatever needs all rows behind it has a gather of its own.
    """
    behind, front = {node}, [node]
    while front:
        here = front.pop()
        if not isinstance(graph.nodes[here].node, Gather):
            front += {e.target for e in graph.out_of(here)} - behind
            behind |= {e.target for e in graph.out_of(here)}
    return any(graph.nodes[n].node.acts_on_executions() for n in behind)
