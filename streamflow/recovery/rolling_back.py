"""What `executions rollback` checks: whether there is a checkpoint to go back to, and what was done since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from streamflow.compiler.checkpoints import checkpoint_id
from streamflow.compiler.compensate import UNDO
from streamflow.expressions import compile_projection
from streamflow.model.batch import EXECUTION, PATH
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.operators.entered import enter, kept_types
from streamflow.recovery.resuming import acting_on_executions, behind, find_node
from streamflow.recovery.undoing import beginnings, compensation, fails_into_undoing
from streamflow.runtime.again_records import Again, decode_one, encode_one
from streamflow.runtime.build import build_node, kept_schemas
from streamflow.runtime.checkpoint_log import CheckpointRecord, checkpoints_of
from streamflow.sdk.errors import CodecError, UsageError
from streamflow.sdk.expression import Scope

if TYPE_CHECKING:
    from streamflow.recovery.recover import Recover
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.registry import NodeRegistry
    from streamflow.topology.plan import NodePlan, Topology


def checked_target(topology: Topology, to: str | None) -> str | None:
    """The id of the checkpoint before a node. Raises UsageError: the workflow records nothing there."""
    if to is None:
        return None
    known = [n.id for s in topology.stages for n in s.nodes if n.kind == Checkpoint.spec.kind]
    if checkpoint_id(to) not in known:
        there = ", ".join(sorted(k.rpartition(".")[0] for k in known)) or "no node"
        raise UsageError(f"--to {to!r}: items are recorded before {there}.", mend="See `policies: {checkpoints: …}`.")
    return checkpoint_id(to)


async def rollbacks(
    work: Recover, ids: Sequence[str] | None, nodes: NodeRegistry, *, to: str | None = None
) -> list[tuple[int, Again]]:
    """What lets executions go on from a checkpoint, one record for each dead letter; None: of all that failed."""
    chosen = None if ids is None else set(ids)
    wanted, seen = [], set[str]()
    async for letter in work.letters():
        execution = letter.execution
        if execution is None or (chosen is not None and execution not in chosen):
            continue
        seen.add(execution)
        if letter.position in work.compensated:
            work.refuse(execution, "its steps were undone by `executions compensate`.", "Retry it instead.")
            continue
        found, why, mend = await _checkpoint(work, letter, nodes, to)
        if found is None:
            work.refuse(execution, why, mend)
            continue
        record, why = _rollback(work.topology, letter, found)
        if record is None:
            work.refuse(execution, why)
            continue
        task = work.task_of(execution, letter.task if record.steps else found.task)
        if task is not None and (not record.steps or work.task_of(execution, found.task) is not None):
            wanted.append((task, record))
    for execution in sorted((chosen or set()) - seen):
        work.refuse(execution, "it has no dead letter that was not given again already.")
    return wanted


async def _checkpoint(
    work: Recover, letter: DeadLetter, nodes: NodeRegistry, to: str | None
) -> tuple[CheckpointRecord | None, str, str]:
    """(the record to go back to; why there is none, the mend)."""
    topology, execution = work.topology, letter.execution or ""
    if letter.stage.startswith(UNDO):
        return None, "its steps were undone when it failed.", "Retry it instead."
    path = _path(letter)
    order = [n.id for s in topology.stages for n in s.nodes]
    passed = [
        one
        for one in await checkpoints_of(work.log, topology, execution)
        if to in (None, one.node)
        and letter.node in behind(topology, one.node)
        and (path is None or path.startswith(one.path))
    ]
    if not passed:
        where = f" before {to.rpartition('.')[0]!r}" if to else ""
        return None, f"it has passed no checkpoint{where} on its way to {letter.node!r}, or that is not kept.", ""
    last = max(passed, key=lambda one: (order.index(one.node), one.position))
    if path is None and len({one.path for one in passed if one.node == last.node}) > 1:
        return None, f"several items of it came to {last.node!r}, and it is not known of which this one is.", ""
    found = find_node(topology, last.node)
    assert found is not None
    stage, node = found
    if stage.id != last.stage:
        return None, f"node {last.node!r} is in stage {stage.id!r} now, and was in {last.stage!r}.", "Retry it instead."
    if whole := acting_on_executions(topology, node.id, nodes):
        return None, f"node {whole!r} behind the checkpoint acts on whole executions.", "Retry it instead."
    made = build_node(node, nodes)
    assert isinstance(made, Checkpoint)
    times = sum(r.execution == execution and _back_to(r) == node.id for _, r in work.given)
    if times >= made.rollbacks_max:
        return None, f"it was rolled back to there {times} times already.", "Raise `rollbacks_max`, or retry it."
    if why := _not_allowed(topology, node, made, last):
        return None, why, ""
    return last, "", ""


def _back_to(record: Again) -> str:
    """The checkpoint that a rollback goes back to; "" of other records."""
    if record.action != "rollback":
        return ""
    return record.node if record.then is None else decode_one(record.then).node


def _path(letter: DeadLetter) -> bytes | None:
    """Which item of its execution a dead letter is; None where nothing tells."""
    if letter.entered is None:
        return None
    from streamflow.operators.entered import travelling

    found = travelling(letter.entered).get(PATH)
    return found if isinstance(found, bytes) else None


def _not_allowed(topology: Topology, node: NodePlan, made: Checkpoint, record: CheckpointRecord) -> str:
    """Why the recorded item is not gone back to; "" if it may be."""
    schema, kept = node.inputs["in"], kept_schemas(topology, node)
    try:
        rows = enter([record.entered], schema, kept_types(kept))
    except CodecError as error:
        return f"node {node.id!r} does not take what was recorded any more: {error}"
    if made.when is None:
        return ""
    projection, findings = compile_projection({"when": made.when}, Scope(item=schema, nodes=kept, vars=topology.vars))
    if projection is None:
        return f"the condition of its checkpoints does not compile: {findings[0].message}"
    frame = rows.frame.with_columns(pl.lit(record.execution).alias(EXECUTION))
    if projection.columns - set(frame.columns):
        return f"the condition `{made.when.text}` names what was not recorded."
    done = projection.run(frame)
    holds = bool(done.values["when"][0]) and not any((codes != 0).any() for codes in done.errors.values())
    return "" if holds else f"the condition `{made.when.text}` of its checkpoints does not hold."


def _rollback(topology: Topology, letter: DeadLetter, to: CheckpointRecord) -> tuple[Again | None, str]:
    """The record that undoes what was done since, and then goes on; or only goes on, where nothing is to be undone."""
    assert letter.execution is not None
    whole = not letter.cut and letter.item is None
    onward = Again(
        action="resume", stage=to.stage, node=to.node, execution=letter.execution, timestamp_ms=to.timestamp_ms,
        letter=letter.position, topic=letter.topic, partition=letter.partition, offset=letter.offset, key=letter.key,
        value=letter.value if whole else None, headers=letter.headers if whole else (), entered=to.entered,
    )  # fmt: skip
    stage, begins = beginnings(topology)
    since = set(behind(topology, to.node))
    steps = tuple(begin for begin in begins if begin.partition(f".{UNDO}~")[0] in since)
    if stage is None or not steps or not fails_into_undoing(topology, letter.node):
        return replace(onward, action="rollback"), ""
    undoing, why, _ = compensation(topology, letter)
    if undoing is None:
        return None, why
    then = encode_one(onward)
    return replace(undoing, action="rollback", steps=steps, then=then, then_partition=to.task), ""
