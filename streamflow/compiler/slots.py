"""Slots: those that the policies of a workflow ask for are put behind its trigger, and all are checked.

What has a slot is an execution, and the node behind which it has one has to know when nothing of it is left: so all of
it comes through that node, as one row, and everything that becomes of it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from streamflow.compiler.codes import LATE_BEHIND_SLOTS, SLOTS
from streamflow.compiler.graph import Edge, Graph, GraphNode
from streamflow.compiler.spread import several_rows, triggers
from streamflow.model.batch import WM
from streamflow.model.policies import ErrorPolicy, Extent
from streamflow.nodes.slots import HoldSlots, Slots
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node
from streamflow.sdk.params import RawParams
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.model import WorkflowPolicies


def put_slots(graph: Graph, policies: WorkflowPolicies, place: Place) -> tuple[Graph, list[Diagnostic]]:
    """The graph with the slots that the policies ask for, right behind the trigger. `place`: of the document."""
    asked = policies.slots
    if asked is None:
        return graph, []
    begins = [n for n in graph.nodes.values() if n.is_trigger and n.node.starts_executions()]
    if len(begins) != 1:
        named = ", ".join(repr(n.id) for n in begins) or "none"
        return graph, [
            _finding(
                place,
                f"policies `concurrency` and `rate` are for workflows with one trigger; here there are {len(begins)} "
                f"({named}).",
                "Put a node of kind `slots` behind each trigger instead.",
            )
        ]
    (trigger,) = begins
    out = graph.out_of(trigger.id)
    if (other := next((e for e in out if e.port != "out"), None)) is not None:
        return graph, [
            _finding(
                other.place,
                f"policies `concurrency` and `rate` hold back what leaves trigger {trigger.id!r} by `out`, and what "
                f"leaves by {other.port!r} would overtake it.",
                "Leave them out, and put a node of kind `slots` where executions may wait.",
            )
        ]
    node_id = f"{trigger.id}.slots"  # no user can write it
    made = GraphNode(
        id=node_id, kind="slots", node=asked, raw=_raw(asked, trigger.place), inside=trigger.inside,
        errors=ErrorPolicy(on_error="dead_letter" if policies.on_error == "compensate" else policies.on_error),
    )  # fmt: skip
    edges = [replace(e, source=node_id) if e in out else e for e in graph.edges]
    edges.append(Edge(source=trigger.id, port="out", target=node_id, target_port="in", place=trigger.place))
    return replace(graph, nodes={**graph.nodes, node_id: made}, edges=tuple(edges)), []


def check_slots(graph: Graph, reach: Mapping[str, Extent], policies: WorkflowPolicies) -> list[Diagnostic]:
    """What stands in the way of slots. `reach`: the extent of executions at each node."""
    return [
        found
        for node in graph.nodes.values()
        if isinstance(node.node, HoldSlots) and node.id not in graph.broken
        for found in _check(graph, node, node.node, reach[node.id], policies)
    ]


def _check(
    graph: Graph, node: GraphNode, slots: HoldSlots, extent: Extent, policies: WorkflowPolicies
) -> Iterator[Diagnostic]:
    name = _name(node)
    if extent != "item":
        yield _finding(
            node.place,
            f"{name} lets executions wait, but here their extent is {extent}: their ends would overtake them.",
            "Publish the items to a topic, and begin with a trigger of kind event there.",
        )
    behind = graph.descendants(node.id)
    late = next((n for n in graph.order if n in behind and WM in _reads(graph.nodes[n].node, reach=extent)), None)
    if late is not None:
        yield replace(
            _finding(
                node.place,
                f"event time goes on while executions wait in {name}: node {late!r} behind it may find them late.",
                f"Put it before {late!r} only where that is meant; give {late!r} a `grace` as long as they may wait.",
            ),
            code=LATE_BEHIND_SLOTS,
            severity="warning",
        )
    if not slots.counts:
        return
    if policies.executions != "all":
        yield _finding(
            node.place,
            f"{name} has to know which executions are under way, and of this workflow {_told(policies)} records.",
            "Write `executions: all` below `policies:` (and `executions_kept: 1d`, so that records do not pile up).",
        )
    if slots.items is not None and not several_rows(graph, node.id):
        yield _finding(
            node.place,
            f"{name} gives slots to `items` of an execution, but each has one item here: nobody would wait.",
            "Put it behind what splits the items, or give `executions`.",
        )
    if slots.items is None and several_rows(graph, node.id):
        yield _finding(
            node.place,
            f"{name} gives slots to executions, but an execution may get to it as several items.",
            "Put it before the items are split, or right behind the trigger; or give `items`, how many of each "
            "execution are under way at once.",
        )
    mine = triggers(graph, node.id)
    for edge in graph.edges:
        past = edge.target in behind and edge.source not in behind and edge.source != node.id
        if past and mine & triggers(graph, edge.source):
            yield _finding(
                edge.place if edge.place.line else node.place,
                f"items of an execution get to {graph.nodes[edge.target].written_id!r} through {name}, and past it: "
                "when its slot is free would not be known.",
                "Put it before they branch, or let the branches not meet behind it.",
            )
            return


def _raw(asked: Slots, place: Place) -> RawParams:
    values = {name: one for name in ("per", "priority") if (one := getattr(asked, name)) is not None}
    places: dict[tuple[str | int, ...], Place] = {
        (name,): one.place for name, one in values.items() if isinstance(one, Expression)
    }
    return RawParams(values=values, places=places, place=place)


def _reads(node: Node, *, reach: Extent) -> tuple[str, ...]:
    return node.reserved_columns(reach)


def _told(policies: WorkflowPolicies) -> str:
    return "none leave" if policies.executions == "none" else "only those with a failure leave"


def _name(node: GraphNode) -> str:
    return f"node {node.id!r}" if node.is_written else "policy `concurrency`"


def _finding(place: Place, message: str, mend: str) -> Diagnostic:
    return Diagnostic(place=place, code=SLOTS, message=message, mend=mend)
