"""What dead letters hold besides, in workflows whose executions can be recovered: the item as it entered the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamflow.model.batch import ERROR_NODE, ROW, Batch
from streamflow.operators.entered import Entered, keep, kept_types
from streamflow.runtime.build import kept_schemas
from streamflow.runtime.deadletter import DeadLetter
from streamflow.sdk.errors import CodecError
from streamflow.topology.plan import NodePlan, StagePlan, Topology

ENTERED, ENTERED_SCHEMA = "@entered", "@entered_schema"  # of items that could not enter a node again


def the_port(node: NodePlan) -> str:
    """The port by which all items enter a node; "" where there are several."""
    return next(iter(node.wires)) if len(node.wires) == 1 else ""


def recoverable(
    topology: Topology, stage: StagePlan, partition: int, rows: Batch, letters: Sequence[DeadLetter]
) -> list[DeadLetter]:
    """The letters of these rows, each with its item where it may enter its node again: a node with one input port."""
    made = [replace(letter, task=partition) for letter in letters]
    if ENTERED in rows.frame.columns:
        kept = zip(rows.frame[ENTERED].to_list(), rows.frame[ENTERED_SCHEMA].to_list(), strict=True)
        return [replace(letter, entered=Entered(*one)) for letter, one in zip(made, kept, strict=True)]
    numbers = rows.frame[ERROR_NODE].to_frame().with_row_index(ROW)
    for (name,), part in numbers.partition_by(ERROR_NODE, as_dict=True).items():
        node = next((n for n in stage.nodes if n.id == name), None)
        if node is None or not (port := the_port(node)) or rows.schema != node.inputs[port]:
            continue  # it failed at the trigger, or is no item as the node takes it
        chosen = part[ROW].to_list()
        types = kept_types(kept_schemas(topology, node))
        try:
            entered = keep(rows.with_frame(rows.frame[chosen]), types)
        except CodecError:
            continue  # an item that no record holds is redriven, not resumed
        for number, one in zip(chosen, entered, strict=True):
            made[number] = replace(made[number], entered=one)
    return made
