"""`streamflow executions cancel`: end executions before they are through."""

from __future__ import annotations

import getpass
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.common import DEFAULT_LOG, FileArgument, JsonOption, LogOption, existing_log, run_async
from streamflow.cli.output import counted, fail, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from streamflow.sdk.log import Log
    from streamflow.topology.plan import Topology

_OPEN = ("running", "waiting")
_SHOWN_MAX = 20  # lines for people


def cancel(
    file: FileArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Executions, as `executions list` shows them.")
    ] = None,
    log: LogOption = DEFAULT_LOG,
    status: Annotated[
        str | None, typer.Option(metavar="S", help="Instead of ids: all that stand at S, which is running or waiting.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="D", help="Only those that began longer ago than this, such as 90s, 12h, 3d.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="Only rows that wait in this node or come to it; may be repeated."),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; history and dead letters tell it.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so. Default: your user name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be cancelled.")] = False,
    json: JsonOption = False,
) -> None:
    """Cancel executions: their rows end where they are, and steps with compensations are undone.

    Each is a record on topic WORKFLOW.control (schemas/control.avsc), which every task of the workflow follows, now or
    when it runs next. An execution that has come to its end is told, not cancelled, and the command then leaves with 1
    once the others are cancelled.
    """
    chosen = list(dict.fromkeys(ids or ()))
    age_ms = _age_ms(older_than)
    if bool(chosen) == (status is not None or age_ms is not None):
        fail("say which executions: by their ids, or by --status and --older-than.", code=2)
    if status is not None and status not in _OPEN:
        fail(f"--status {status!r}: only {' and '.join(_OPEN)} executions can be cancelled.", code=2)
    run_async(_cancel(file, log, chosen, status, age_ms, at, reason, by or _user(), dry_run, json))


async def _cancel(
    file: Path, address: str, ids: list[str], status: str | None, age_ms: int | None, at: list[str] | None,
    reason: str | None, by: str | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    from streamflow.cli.executions import tracked
    from streamflow.runtime.cancels import ControlRecord, write_cancels

    topology = tracked(file)
    _check_nodes(topology, at)
    now_ms = time.time_ns() // 1_000_000
    async with existing_log(address) as log:
        refused: dict[str, str] = {}
        if ids:
            found = await _stand(log, topology, ids)
            refused = {one: why for one in ids if (why := _why_not(found[one]))}
        else:
            before_ms = None if age_ms is None else now_ms - age_ms
            found = await _chosen(log, topology, status, before_ms)
        wanted = [one for one in found if one not in refused]
        if wanted and not dry_run:
            cancels = [
                ControlRecord(execution=one, nodes=None if at is None else tuple(at), reason=reason, by=by)
                for one in wanted
            ]
            producer = await log.producer(f"streamflow.cancel.{os.getpid()}")
            try:
                await write_cancels(log, producer, topology, cancels, now_ms=now_ms)
            finally:
                await producer.close()
    _tell(topology, found, wanted, refused, dry_run=dry_run, as_json=as_json)
    if refused:
        raise typer.Exit(1)


async def _stand(log: Log, topology: Topology, ids: list[str]) -> dict[str, str]:
    """How each of some executions stands; "" where nothing is known of one."""
    from streamflow.runtime.execution_log import is_pending, is_trigger_item, standing

    found = await standing(log, topology, ids)
    partial = any(stage.tracked == "errors" for stage in topology.stages)
    for one in ids:
        if one in found:
            continue
        if await is_pending(log, topology, one):
            found[one] = "pending"
        else:
            # Where only failures leave records, how others stand is not known.
            found[one] = "unknown" if partial and await is_trigger_item(log, topology, one) else ""
    found = {one: found[one] for one in ids}
    if partial:
        found = {one: stands if stands in ("", "pending") else "unknown" for one, stands in found.items()}
    return found


async def _chosen(log: Log, topology: Topology, status: str | None, before_ms: int | None) -> dict[str, str]:
    """Open executions, the newest last."""
    from streamflow.operators.control import ORDERS_MAX
    from streamflow.runtime.execution_log import Newest, executions_topic
    from streamflow.runtime.execution_states import Reach

    reach = Reach.of(topology)
    if reach.partial:
        fail(
            "where only failures leave records, it is not known which executions are open.",
            mend="Name them by their ids, or write `executions: all` below `policies:`.",
        )
    found: dict[str, str] = {}
    topic = executions_topic(topology)
    info = (await log.topics()).get(topic)
    for one in (status,) if status else _OPEN if info is not None else ():
        newest = Newest(reach, status=one, since_ms=None, most=ORDERS_MAX + 1)
        if info is not None:
            await newest.read(log, topic, info.partitions)
        rows = newest.rows()
        if before_ms is not None:
            rows = rows.filter(rows["began_ms"] < before_ms)
        found |= dict.fromkeys(rows["execution"].to_list(), one)
    if len(found) > ORDERS_MAX:
        fail(
            f"{len(found):,} or more executions would be cancelled; a task remembers {ORDERS_MAX:,}.",
            mend="Cancel some first, by --older-than.",
        )
    return found


def _why_not(stands: str) -> str:
    if stands in (*_OPEN, "pending", "unknown"):
        return ""
    return f"it is {stands.replace('_', ' ')} already" if stands else "there is no such execution"


def _tell(
    topology: Topology, found: dict[str, str], wanted: list[str], refused: dict[str, str], *, dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    if as_json:
        told: list[dict[str, Any]] = [
            {"execution": one, "status": found[one] or None, "cancelled": one not in refused, "why": refused.get(one)}
            for one in found
        ]
        print_json({"workflow": topology.workflow, "written": not dry_run and bool(wanted), "executions": told})
        return
    for one in wanted[:_SHOWN_MAX]:
        print(f"{one}  {found[one]}: {'would be' if dry_run else 'to be'} cancelled")
    for one, why in refused.items():
        print(f"{one}  not cancelled: {why}")
    if len(wanted) > _SHOWN_MAX or not (wanted or refused):
        print(f"({counted(len(wanted), 'execution')} {'would be' if dry_run else 'to be'} cancelled)")


def _check_nodes(topology: Topology, at: list[str] | None) -> None:
    from streamflow.sdk.params import suggestion

    known = {node.id for stage in topology.stages for node in stage.nodes}
    for node in at or ():
        if node not in known:
            fail(f"--at {node!r}: there is no such node.", mend=suggestion(node, known), code=2)


def _age_ms(text: str | None) -> int | None:
    from streamflow.sdk.params import parse_duration_ms

    if text is None:
        return None
    age_ms = parse_duration_ms(text)
    if age_ms is None:
        fail(f"--older-than is a duration, not {text!r}.", mend="Write it like 90s, 12h or 3d.", code=2)
    return age_ms


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return None
