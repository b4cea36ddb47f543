"""What `executions compensate` needs of a dead letter: the node where it failed, and where its compensations begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamflow.compiler.compensate import ALL, UNDO
from streamflow.operators.entered import enter, kept_types
from streamflow.runtime.again_records import Again
from streamflow.runtime.build import kept_schemas
from streamflow.runtime.recoverable import the_port
from streamflow.sdk.errors import CodecError

if TYPE_CHECKING:
    from streamflow.cli.recover import Recover
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.topology.plan import StagePlan, Topology

_MEND = "Name what undoes a step with `compensate: NODE` on it."


async def compensations(work: Recover, ids: Sequence[str] | None) -> list[tuple[int, Again]]:
    """What undoes the steps of executions that failed, one record for each dead letter; None: of all that failed."""
    chosen = None if ids is None else set(ids)
    done = {r.letter for _, r in work.given if r.action == "compensate"}
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
    for execution in sorted((chosen or set()) - seen):
        why = "it has no dead letter that was not given again already."
        work.refuse(execution, why, "`executions show` tells how it stands.")
    return wanted


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
