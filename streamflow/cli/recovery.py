"""`streamflow executions retry | resume`: what failed goes on, from its trigger or from where it failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    existing_log,
    run_async,
)
from streamflow.cli.output import counted, fail, print_json

if TYPE_CHECKING:
    from streamflow.recovery.recover import Recover, Written
    from streamflow.topology.plan import Topology

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids, as `executions list` shows them.")]
AllOption = Annotated[bool, typer.Option("--all-failed", help="All that have a dead letter nobody has dealt with.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def retry(
    file: FileArgument,
    ids: IdsArgument = None,
    log: LogOption = DEFAULT_LOG,
    all_failed: AllOption = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was retried before.")] = False,
    dry_run: DryOption = False,
    json: JsonOption = False,
) -> None:
    """Give the trigger item of executions to the workflow once more, as executions of their own.

    Only this workflow sees the items. One that was retried is not retried again by the same call, however often made.
    """
    run_async(_retry(file, _wanted(ids, all_failed), log, again, dry_run, json))


async def _retry(file: Path, ids: list[str] | None, address: str, again: bool, dry_run: bool, as_json: bool) -> None:
    from streamflow.recovery.recover import Recover
    from streamflow.recovery.retrying import retries

    topology = recoverable(file)
    async with existing_log(address) as log, Recover(log, topology, dry_run=dry_run) as work:
        wanted = await retries(work, ids, again=again)
        done = await written(work, wanted)
    _tell(topology, work, done, "retried", dry_run=dry_run, as_json=as_json)


def resume(
    file: FileArgument,
    ids: IdsArgument = None,
    log: LogOption = DEFAULT_LOG,
    all_failed: AllOption = False,
    node: Annotated[str | None, typer.Option(metavar="ID", help="Only what failed in this node.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=EXPR", help="Change a field of the items before they go on."),
    ] = None,
    dry_run: DryOption = False,
    json: JsonOption = False,
) -> None:
    """Let failed executions go on: their dead letters enter the node in which they failed, as they were there.

    Each dead letter is given once, however often this is called. The file may be another version of the workflow by
    now, in which the node does not fail.
    """
    run_async(_resume(file, _wanted(ids, all_failed), log, node, _assigned(set_ or []), dry_run, json))


async def _resume(
    file: Path,
    ids: list[str] | None,
    address: str,
    node: str | None,
    fields: dict[str, str],
    dry_run: bool,
    as_json: bool,
) -> None:
    from streamflow.nodes import registry
    from streamflow.recovery.recover import Recover
    from streamflow.recovery.resuming import resumptions

    topology = recoverable(file)
    async with existing_log(address) as log, Recover(log, topology, dry_run=dry_run) as work:
        wanted = await resumptions(work, ids, registry(), node=node, fields=fields)
        done = await written(work, wanted)
    _tell(topology, work, done, "resumed", dry_run=dry_run, as_json=as_json)


def _wanted(ids: list[str] | None, all_failed: bool) -> list[str] | None:
    """The ids asked for; None for all that failed. Leaves with 2 where the call says neither, or both."""
    if bool(ids) == all_failed:
        fail("say which executions: their ids, or --all-failed.", code=2)
    return None if all_failed else ids


def _assigned(given: list[str]) -> dict[str, str]:
    """Fields and expressions of `--set`."""
    made = {}
    for text in given:
        name, equals, expression = text.partition("=")
        if not equals or not name.strip() or not expression.strip():
            fail(f"--set {text!r}: write it as FIELD=EXPRESSION.", code=2)
        made[name.strip()] = expression.strip()
    return made


def recoverable(file: Path) -> Topology:
    """The compiled workflow. Leaves with 1 if its executions cannot be recovered."""
    _, topology = compile_file(file)
    if not any(stage.again for stage in topology.stages):
        fail(
            f"executions of {topology.workflow!r} cannot be recovered.",
            mend="Write `recovery: commands` below `policies:`, and run it; what failed before can only be redriven.",
        )
    return topology


async def written(work: Recover, wanted: list) -> Written:  # type: ignore[type-arg]
    """What `Recover.write` gives; leaves with 1 when another call has taken over."""
    from streamflow.sdk.errors import Fenced

    try:
        return await work.write(wanted)
    except Fenced:
        _taken_over(work)


def _taken_over(work: Recover) -> NoReturn:
    mend = "What this one had written is written; call it again for the rest."
    fail(f"another command that recovers executions of {work.topology.workflow!r} has taken over.", mend=mend)


def _tell(topology: Topology, work: Recover, done: Written, word: str, *, dry_run: bool, as_json: bool) -> None:
    given = [
        {"execution": r.execution, "node": r.node}
        | ({"letter": r.letter} if r.letter >= 0 else {})
        | ({"as": done.became[r.execution]} if r.execution in done.became else {})
        for r in done.given
    ]
    if as_json:
        refused = [{"execution": r.execution, "why": r.why, "mend": r.mend} for r in work.refused]
        print_json(
            {"workflow": topology.workflow, "written": not dry_run, word.replace(" ", "_"): given, "refused": refused}
        )
    else:
        for one in given:
            became = f" as {one['as']}" if "as" in one else f" at {one['node']}"
            print(f"{one['execution']} {'would be ' if dry_run else ''}{word}{became}")
        for r in work.refused:
            print(f"{r.execution}: {r.why}{f' {r.mend}' if r.mend else ''}")
        print(
            f"{counted(len(given), 'item')} {'would be ' if dry_run else ''}{word}"
            + (f", {len(work.refused)} refused" if work.refused else "")
        )
    if work.refused:
        raise typer.Exit(1)


def compensate(
    file: FileArgument,
    ids: IdsArgument = None,
    log: LogOption = DEFAULT_LOG,
    all_failed: AllOption = False,
    dry_run: DryOption = False,
    json: JsonOption = False,
) -> None:
    """Undo the steps that executions have passed, the last one first, as `compensate` of each step says.

    Each is undone once, however often this is called. An execution that failed stays failed, and is not resumed any
    more. One that is completed can be undone from a checkpoint behind all of its steps.
    """
    run_async(_compensate(file, _wanted(ids, all_failed), log, dry_run, json))


async def _compensate(file: Path, ids: list[str] | None, address: str, dry_run: bool, as_json: bool) -> None:
    from streamflow.recovery.recover import Recover
    from streamflow.recovery.undoing import compensations

    topology = recoverable(file)
    async with existing_log(address) as log, Recover(log, topology, dry_run=dry_run) as work:
        wanted = await compensations(work, [] if ids is None else ids, all_failed=ids is None)
        done = await written(work, wanted)
    _tell(topology, work, done, "compensated", dry_run=dry_run, as_json=as_json)


def rollback(
    file: FileArgument,
    ids: IdsArgument = None,
    log: LogOption = DEFAULT_LOG,
    to: Annotated[
        str | None, typer.Option(metavar="NODE", help="The node before which it begins again. Left out: the last.")
    ] = None,
    all_failed: AllOption = False,
    dry_run: DryOption = False,
    json: JsonOption = False,
) -> None:
    """Let failed executions go on from a checkpoint, with the item as it was recorded there.

    Steps that were passed since are undone first, the last one first. Where a compensation fails the execution does not
    go on.
    """
    run_async(_rollback(file, _wanted(ids, all_failed), log, to, dry_run, json))


async def _rollback(
    file: Path, ids: list[str] | None, address: str, to: str | None, dry_run: bool, as_json: bool
) -> None:
    from streamflow.nodes import registry
    from streamflow.recovery.recover import Recover
    from streamflow.recovery.rolling_back import checked_target, rollbacks

    topology = recoverable(file)
    target = checked_target(topology, to)
    async with existing_log(address) as log, Recover(log, topology, dry_run=dry_run) as work:
        done = await written(work, await rollbacks(work, ids, registry(), to=target))
    _tell(topology, work, done, "rolled back", dry_run=dry_run, as_json=as_json)
