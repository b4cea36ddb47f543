"""Where rows end when their execution is ended from outside, and what then undoes the steps that they have passed.

What undoes steps (`compensate`) goes on: its nodes, and those behind them, are `lasting`. Elsewhere rows end at the
nodes that they come to first in a stage, and in those that hold rows. With the policy `on_cancel: compensate` such a
node gives them by a port of its own to where failed items go to be undone, if rows may have passed a step before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from streamflow.compiler.codes import ENDINGS
from streamflow.compiler.compensate import ALL, UNDO
from streamflow.compiler.graph import ERROR_PORT, Edge, Graph, GraphNode
from streamflow.compiler.meet import levels
from streamflow.nodes.filter import Filter
from streamflow.sdk.expression import Expression
from streamflow.sdk.operator import ENDING_CODES
from streamflow.sdk.places import Diagnostic, Place
from streamflow.topology.failures import ENDED_PORT
from streamflow.workflow.model import WorkflowPolicies

_CODES = json.dumps(sorted(ENDING_CODES))


def endings(graph: Graph, policies: WorkflowPolicies, place: Place) -> tuple[Graph, list[Diagnostic]]:
    """The graph with rows of ended executions led to compensations. `place`: of the document."""
    if policies.executions == "none":
        asked = [name for name, value in (("on_cancel", policies.on_cancel), ("timeout", policies.timeout_ms)) if value]
        return graph, [_untold(name, place) for name in asked]
    gathers = [n for n in graph.nodes if n == ALL or n.endswith(f".{ALL}")]
    if not gathers:
        return graph, [_nothing(place)] if policies.on_cancel == "compensate" else []
    lasting = {n for g in gathers for n in (g, *graph.descendants(g))}
    nodes = {n: replace(g, lasting=True) if n in lasting else g for n, g in graph.nodes.items()}
    made = replace(graph, nodes=nodes)
    if policies.on_cancel == "drop":
        return made, []
    for gather in gathers:
        made = _led(made, gather, gathers)
    return made, []


def _led(graph: Graph, gather: str, gathers: list[str]) -> Graph:
    """Rows that end where steps of one file may lie behind them, led to `gather`; `gathers`: of all files."""
    prefix = gather.removesuffix(ALL)
    deeper = tuple(g.removesuffix(ALL) for g in gathers if g != gather and g.startswith(prefix))
    undone = {
        n: n.partition(f".{UNDO}~")[0]
        for n in graph.nodes
        if f".{UNDO}~" in n and n.startswith(prefix) and not n.startswith(deeper)
    }
    passed = {step: _behind(graph, step) for step in undone.values()}
    level = levels(graph)
    places = [n for n in graph.order if n.startswith(prefix) and _ends_rows(graph, graph.nodes[n], level)]
    places = [n for n in places if any(n in behind for behind in passed.values())]
    edges = [
        Edge(source=n, port=ENDED_PORT, target=gather, target_port="in", place=graph.nodes[n].place) for n in places
    ]
    nodes = dict(graph.nodes)
    for between, step in undone.items():
        nodes[step] = replace(nodes[step], undone=True)
        mine = [n for n in places if n in passed[step]]
        if mine:
            nodes[between] = _also(graph.nodes[between], step, [n for n in mine if not _around(graph, step, n)], mine)
    return replace(graph, nodes=nodes, edges=(*graph.edges, *edges))


def _ends_rows(graph: Graph, node: GraphNode, level: Mapping[str, int]) -> bool:
    """Whether rows may end at a node: it holds them, they come to it first in a stage, or are gathered before it.

    Where branches meet behind a topic, the others get one as well, later (`meet`), and so do gathers (`gather`).
    """
    if node.lasting or node.is_trigger or node.repartitions or not graph.into(node.id):
        return False
    holds = node.node.spec.holds or node.errors.retry.puts_aside or node.node.acts_on_executions()
    arriving = graph.into(node.id)
    meets = len({level[e.source] + graph.enters(e) for e in arriving}) > 1
    return holds or meets or any(map(graph.enters, arriving))


def _also(between: GraphNode, step: str, sure: list[str], mine: list[str]) -> GraphNode:
    """The filter before a compensation, passed by rows as well that ended behind the step."""
    assert isinstance(between.node, Filter)
    known = [f"error.node in {json.dumps(sure)}"] if sure else []
    if len(sure) < len(mine):
        known.append(f"(error.node in {json.dumps(mine)} and nodes[{json.dumps(step)}] is not None)")
    also = f"(error.code in {_CODES} and ({' or '.join(known)}))"
    when = between.node.when
    # Its text begins with what says in parentheses which failed items have passed the step (`compensate`).
    return replace(between, node=replace(between.node, when=Expression(f"({also} or {when.text[1:]}", when.place)))


def _behind(graph: Graph, step: str) -> frozenset[str]:
    """Nodes that rows can get to which have passed a step."""
    begun = {e.target for e in graph.out_of(step) if e.port != ERROR_PORT}
    return frozenset(begun).union(*(graph.descendants(n) for n in begun))


def _around(graph: Graph, step: str, node: str) -> bool:
    """Whether rows that have not passed a step can get to a node."""
    begun = graph.starts()
    return graph.reaches(begun, node, lambda e: (e.source != step or e.port == ERROR_PORT) and not _is_aside(graph, e))


def _is_aside(graph: Graph, edge: Edge) -> bool:
    """Whether what flows along an edge are no items of the workflow, such as signals."""
    return any(p.aside for p in graph.nodes[edge.target].node.input_ports() if p.name == edge.target_port)


def _untold(name: str, place: Place) -> Diagnostic:
    return Diagnostic(
        place=place,
        code=ENDINGS,
        message=f"policies: `{name}` is about executions, and those of this workflow are not kept account of.",
        mend="Write `executions: all` (or `errors`) below `policies:`.",
    )


def _nothing(place: Place) -> Diagnostic:
    return Diagnostic(
        place=place,
        code=ENDINGS,
        message="policies: `on_cancel: compensate`, but no step is undone where an item fails.",
        mend="Give the steps a `compensate`, and the nodes behind them `on_error: compensate`.",
    )
