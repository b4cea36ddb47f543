"""The policy `checkpoints` spelt out: a node that records items stands before each node that it names.

It stands there before anything else is known of the graph, so that repartitions, stages and envelopes come of
themselves. Where an item has several ways in, or goes round in a loop, there is no place to begin again from.
"""

from __future__ import annotations

from dataclasses import replace

from streamflow.compiler.codes import CHECKPOINTS
from streamflow.compiler.graph import Graph, GraphNode
from streamflow.model.policies import ErrorPolicy
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.sdk.params import RawParams, nearest
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.model import CheckpointPolicy

SUFFIX = "checkpoint"


def checkpoint_id(node: str) -> str:
    """The id of what stands before a node; no user can write it."""
    return f"{node}.{SUFFIX}"


def with_checkpoints(graph: Graph, policy: CheckpointPolicy | None, place: Place) -> tuple[Graph, list[Diagnostic]]:
    """The graph with what the policy asks for. `place`: of the workflow, for findings."""
    findings: list[Diagnostic] = []
    nodes, edges = dict(graph.nodes), list(graph.edges)
    inside = {n for body in graph.bodies.values() for n in body} | set(graph.bodies)
    for name in policy.nodes if policy is not None else ():
        why, mend = "", ""
        if name not in graph.nodes:
            near = nearest(name, [n for n in graph.nodes if graph.nodes[n].is_written])
            why, mend = f"there is no node {name!r} to record items before.", f"Did you mean {near!r}?" if near else ""
        elif len({e.target_port for e in graph.into(name)}) != 1:
            why = (
                f"node {name!r} has {'no input' if not graph.into(name) else 'several input ports'}: no way leads back."
            )
            mend = "Name a node behind it, or before."
        elif name in inside:
            why, mend = (
                f"node {name!r} is in a loop, or is one: a round does not begin there.",
                "Name one before the loop.",
            )
        if why:
            findings.append(
                Diagnostic(place=place, code=CHECKPOINTS, message=f"policies.checkpoints: {why}", mend=mend)
            )
            continue
        assert policy is not None
        node = Checkpoint(
            interval_ms=policy.interval_ms, keep_ms=policy.keep_ms, when=policy.when, rollbacks_max=policy.rollbacks_max
        )
        raw = RawParams(place=graph.nodes[name].place)
        made = GraphNode(id=checkpoint_id(name), kind=Checkpoint.spec.kind, node=node, raw=raw, errors=ErrorPolicy())
        nodes[made.id] = made
        for i, edge in enumerate(edges):
            if edge.target == name:
                edges[i] = replace(edge, target=made.id, target_port="in")
        port = graph.into(name)[0].target_port
        edges.append(replace(graph.into(name)[0], source=made.id, port="out", target=name, target_port=port))
    return replace(graph, nodes=nodes, edges=tuple(edges)), findings
