"""What `executions resume` checks of a dead letter before its item enters the node again, and what it changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from streamflow.compiler.compensate import UNDO
from streamflow.expressions import compile_projection
from streamflow.model.batch import EXECUTION
from streamflow.model.types import ANY, PAYLOAD
from streamflow.operators.entered import Entered, enter, keep, kept_types
from streamflow.runtime.again_records import Again
from streamflow.runtime.build import build_node, kept_schemas
from streamflow.runtime.recoverable import the_port
from streamflow.sdk.errors import CodecError, UsageError
from streamflow.sdk.expression import Expression, Scope

if TYPE_CHECKING:
    from streamflow.recovery.recover import Recover
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.registry import NodeRegistry
    from streamflow.topology.plan import NodePlan, StagePlan, Topology


async def resumptions(
    work: Recover,
    ids: Sequence[str] | None,
    nodes: NodeRegistry,
    *,
    node: str | None = None,
    fields: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[int, Again]]:
    """What is to be given again of executions; None: of all. `node`: only what failed there. `fields`: of `--set`."""
    topology, undone = work.topology, work.compensated
    chosen = None if ids is None else set(ids)
    wanted, seen = [], set[str]()
    async for letter in work.letters():
        execution = letter.execution
        if execution is None or (chosen is not None and execution not in chosen) or node not in (None, letter.node):
            continue
        seen.add(execution)
        if letter.position in undone:
            work.refuse(execution, "its steps were undone by `executions compensate`.", "Retry it instead.")
            continue
        why, mend = why_not(topology, letter, nodes)
        if why:
            work.refuse(execution, why, mend)
            continue
        found = find_node(topology, letter.node)
        assert found is not None
        entered, why = changed(topology, letter, found[1], fields)
        if entered is None:
            work.refuse(execution, f"{why}.")
        elif (task := work.task_of(execution, letter.task)) is not None:
            wanted.append((task, resumption(letter, entered, *found)))
    for execution in sorted((chosen or set()) - seen):
        where = f" of node {node!r}" if node else ""
        why = f"it has no dead letter{where} that was not given again already."
        work.refuse(execution, why, "`executions show` tells how it stands.")
    return wanted


def find_node(topology: Topology, node_id: str) -> tuple[StagePlan, NodePlan] | None:
    """A node and its stage."""
    return next(((s, n) for s in topology.stages for n in s.nodes if n.id == node_id), None)


def why_not(topology: Topology, letter: DeadLetter, nodes: NodeRegistry) -> tuple[str, str]:
    """(why an item cannot go on from where it failed, the mend); ("", "") if it can."""
    retry = "`executions retry` begins anew with its trigger item."
    if any(i.node == letter.node for s in topology.stages for i in s.inputs):
        return f"it failed at trigger {letter.node!r}, where nothing of it was done yet.", retry
    found = find_node(topology, letter.node)
    if letter.stage.startswith(UNDO) and (found is None or found[0].id != letter.stage):
        return "its steps were undone when it failed.", retry
    if found is None:
        return f"there is no node {letter.node!r} any more, in which it failed.", retry
    stage, node = found
    if stage.id != letter.stage:
        moved = f"node {node.id!r} is in stage {stage.id!r} now, and was in {letter.stage!r}:"
        return f"{moved} its items are in other partitions.", retry
    if letter.entered is None:
        return (
            f"dead letter {letter.position} does not hold the item as it entered {node.id!r}: the node has "
            "several input ports, or the letter was written before executions could be recovered.",
            retry,
        )
    if not the_port(node):
        return f"node {node.id!r} has several input ports now.", retry
    if node.loops:
        return (
            f"node {node.id!r} is in the body of loop {next(iter(node.loops))!r}: a round does not begin there.",
            retry,
        )
    if whole := acting_on_executions(topology, node.id, nodes):
        return f"node {whole!r} acts on whole executions, and this one has passed it without the item.", retry
    try:
        enter([letter.entered], node.inputs[the_port(node)], kept_types(kept_schemas(topology, node)))
    except CodecError as error:
        return f"node {node.id!r} does not take it any more: {error}", retry
    return "", ""


def acting_on_executions(topology: Topology, node_id: str, nodes: NodeRegistry) -> str:
    """The first node at or behind one that acts on whole executions; "" if there is none."""
    for here in behind(topology, node_id):
        found = find_node(topology, here)
        if found is not None and build_node(found[1], nodes).acts_on_executions():
            return here
    return ""


def behind(topology: Topology, node_id: str) -> list[str]:
    """A node and all to which its rows may come, through topics as well; nearer ones first."""
    topics = {s.wire.node: s.topic for stage in topology.stages for s in stage.sinks if s.kind == "repartition"}
    found = [node_id]
    for here in found:  # it grows
        feeds = {here} | {i.node for s in topology.stages for i in s.inputs if i.topic == topics.get(here, "-")}
        for node in (n for stage in topology.stages for n in stage.nodes):
            if node.id not in found and any(w.node in feeds for ws in node.wires.values() for w in ws):
                found.append(node.id)
    return found


def resumption(letter: DeadLetter, entered: Entered, stage: StagePlan, node: NodePlan) -> Again:
    """The record by which the item of a letter enters its node again."""
    assert letter.execution is not None
    whole = not letter.cut and letter.item is None
    return Again(
        action="resume", stage=stage.id, node=node.id, execution=letter.execution, timestamp_ms=letter.timestamp_ms,
        letter=letter.position, topic=letter.topic, partition=letter.partition, offset=letter.offset, key=letter.key,
        value=letter.value if whole else None, headers=letter.headers if whole else (), entered=entered,
    )  # fmt: skip


def changed(
    topology: Topology, letter: DeadLetter, node: NodePlan, fields: Mapping[str, str]
) -> tuple[Entered | None, str]:
    """(the item with fields set, why one cannot be set). Raises UsageError: an expression is wrong for all items."""
    assert letter.entered is not None
    schema, kept = node.inputs[the_port(node)], kept_schemas(topology, node)
    rows = enter([letter.entered], schema, kept_types(kept))
    if not fields:
        return letter.entered, ""
    frame = rows.frame.with_columns(pl.lit(letter.execution).alias(EXECUTION))
    scope = Scope(item=schema, nodes=kept, vars=topology.vars)
    if schema.kind == "record":
        if unknown := [name for name in fields if schema.field(name) is None]:
            raise UsageError(f"--set {unknown[0]}: items of node {node.id!r} have no such field.")
        wanted = {name: Expression(text) for name, text in fields.items()}
        expect = {f.name: f.type for f in schema.fields if f.name in fields}
    elif schema.kind == "any":
        made = ", ".join(f'"{name}": ({text})' for name, text in fields.items())
        wanted, expect = {PAYLOAD: Expression(f"merge(item, {{{made}}})")}, {PAYLOAD: ANY}
    else:
        raise UsageError(f"--set: items of node {node.id!r} are {schema}, they have no fields.")
    projection, findings = compile_projection(wanted, scope, expect=expect)
    if projection is None:
        raise UsageError(f"--set: {findings[0].message}")
    if missing := sorted(projection.columns - set(frame.columns)):
        return None, f"--set names what is not kept of the item: {', '.join(missing)}"
    done = projection.run(frame)
    for name, codes in done.errors.items():
        if (codes != 0).any():
            return None, f"--set {name if name != PAYLOAD else ''}: it fails for this item"
    values = [done.values[name].cast(frame.schema[name]).alias(name) for name in wanted]
    return keep(rows.with_frame(frame.with_columns(values)), kept_types(kept))[0], ""
