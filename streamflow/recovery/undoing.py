"""What `executions compensate` needs of a dead letter: the node where it failed, and where its compensations begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamflow.compiler.compensate import ALL, UNDO
from streamflow.operators.entered import enter, kept_types
from streamflow.recovery.resuming import behind
from streamflow.runtime.again_records import Again
from streamflow.runtime.build import kept_schemas
from streamflow.runtime.checkpoint_log import checkpoints_of
from streamflow.runtime.execution_log import records_of
from streamflow.runtime.execution_states import Reach, States, statuses
from streamflow.runtime.recoverable import the_port
from streamflow.sdk.errors import CodecError

if TYPE_CHECKING:
    from streamflow.recovery.recover import Recover
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.topology.plan import StagePlan, Topology

_MEND = "Name what undoes a step with `compensate: NODE` on it."


async def compensations(work: Recover, ids: Sequence[str], *, all_failed: bool = False) -> list[tuple[int, Again]]:
    """What undoes the steps of executions: one record for each dead letter, or for one that is completed.

    `all_failed`: of all that failed and have passed a step.
    """
    chosen = None if all_failed else set(ids)
    done = work.compensated
    wanted, seen = [], set[str]()
    async for letter in work.letters():
        execution = letter.execution
        if execution is None or (chosen is not None and execution not in chosen):
            continue
        seen.add(execution)
        if letter.position in done:
            if chosen is not None:
                work.refuse(execution, "its steps were undone before, by `executions compensate`.")
            continue
        if chosen is None and beginnings(work.topology)[0] and not fails_into_undoing(work.topology, letter.node):
            continue  # it has passed no step
        record, why, mend = compensation(work.topology, letter)
        if record is None:
            work.refuse(execution, why, mend)
        elif (task := work.task_of(execution, letter.task)) is not None:
            wanted.append((task, record))
    rest = [await of_completed(work, execution) for execution in sorted((chosen or set()) - seen)]
    return [*wanted, *(found for found in rest if found is not None)]


async def of_completed(work: Recover, execution: str) -> tuple[int, Again] | None:
    """What undoes the steps of an execution without dead letters, from the last of its checkpoints; None: refused."""
    topology = work.topology
    if any(r.execution == execution and r.letter < 0 and r.action == "compensate" for _, r in work.given):
        work.refuse(execution, "its steps were undone before, by `executions compensate`.")
        return None
    stage, begins = beginnings(topology)
    if stage is None:
        work.refuse(execution, f"no step of {topology.workflow!r} says what undoes it.", _MEND)
        return None
    records = await records_of(work.log, topology, execution)
    status = None if records is None else statuses(States.of(records), Reach.of(topology))["status"][0]
    if status != "completed" or Reach.of(topology).partial:
        how = f"it is {status}" if status else "nothing is told of it"
        mend = "`executions: all` below `policies:` tells how executions stand."
        work.refuse(execution, f"only what failed or is completed is undone, and {how}.", mend)
        return None
    steps = {begin.partition(f".{UNDO}~")[0] for begin in begins}
    behind_all = [
        one for one in await checkpoints_of(work.log, topology, execution)
        if fails_into_undoing(topology, one.node) and not steps & set(behind(topology, one.node))
    ]  # fmt: skip
    if not behind_all:
        work.refuse(
            execution,
            "it has no checkpoint behind all of its steps: what they made of the item is not known.",
            "Name a node behind them in `policies: {checkpoints: {nodes: […]}}`.",
        )
        return None
    last = behind_all[-1]
    if len({one.path for one in behind_all if one.node == last.node}) > 1:
        work.refuse(execution, f"several items of it came to {last.node!r}: which of them stands for it is not known.")
        return None
    if (task := work.task_of(execution, last.task)) is None:
        return None
    record = Again(
        action="compensate", stage=stage.id, node=last.node, execution=execution, timestamp_ms=last.timestamp_ms,
        steps=begins, entered=last.entered, error_code="compensated", error_message="undone by `executions compensate`",
    )  # fmt: skip
    return task, record


def compensation(topology: Topology, letter: DeadLetter) -> tuple[Again | None, str, str]:
    """(the record that undoes the steps of a dead letter, or why there is none, the mend)."""
    assert letter.execution is not None
    if letter.stage.startswith(UNDO):
        return None, "its steps were undone when it failed.", ""
    stage, begins = beginnings(topology)
    if stage is None:
        return None, f"no step of {topology.workflow!r} says what undoes it.", _MEND
    if not fails_into_undoing(topology, letter.node):
        return None, f"no step with a compensation stands before node {letter.node!r}, in which it failed.", _MEND
    node = next(n for s in topology.stages for n in s.nodes if n.id == letter.node)
    if letter.entered is None:
        return None, f"dead letter {letter.position} does not hold the item as it entered {node.id!r}.", ""
    try:
        enter([letter.entered], node.inputs[the_port(node)], kept_types(kept_schemas(topology, node)))
    except CodecError as error:
        return None, f"node {node.id!r} takes other items now: {error}", ""
    whole = not letter.cut and letter.item is None
    record = Again(
        action="compensate", stage=stage.id, node=node.id, execution=letter.execution, letter=letter.position,
        timestamp_ms=letter.timestamp_ms, steps=begins, topic=letter.topic, partition=letter.partition,
        offset=letter.offset, key=letter.key, value=letter.value if whole else None,
        headers=letter.headers if whole else (), entered=letter.entered, error_code=letter.code,
        error_message=letter.message,
    )  # fmt: skip
    return record, "", ""


def beginnings(topology: Topology) -> tuple[StagePlan | None, tuple[str, ...]]:
    """The stage in which steps are undone, and the nodes where their compensations begin, the last step first."""
    for stage in topology.stages:
        if any(i.node == UNDO for i in stage.inputs):
            return stage, tuple(n.id for n in stage.nodes if f".{UNDO}~" in n.id)
    return None, ()


def fails_into_undoing(topology: Topology, node: str) -> bool:
    """Whether what fails in a node may be undone: its error port leads to where steps are."""
    wires = ((n.id, w) for s in topology.stages for n in s.nodes for ws in n.wires.values() for w in ws)
    found = [n for n, wire in wires if wire.node == node and wire.port == "error"]
    return any(n == ALL or n.startswith((f"{ALL}.", UNDO)) for n in found)
