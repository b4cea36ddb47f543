"""`streamflow executions`: what became of the items that started a workflow, one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.cancel import cancel
from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    existing_log,
    run_async,
)
from streamflow.cli.output import counted, fail, one_line, print_json, table
from streamflow.cli.recovery import compensate, resume, retry, rollback

if TYPE_CHECKING:
    from pathlib import Path

    from streamflow.topology.plan import Topology

executions = typer.Typer(help="Executions: what one trigger item each has caused.", no_args_is_help=True)
for command in (cancel, retry, resume, rollback, compensate):
    executions.command()(command)
_MESSAGE_CHARS = 60


@executions.command("list")
def list_(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    status: Annotated[
        str | None,
        typer.Option(metavar="S", help="Only those that stand at S: running, waiting, completed, failed, …"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only those of which something happened since this ISO time.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="U", help="Only those that this user asked for.")] = None,
    session: Annotated[str | None, typer.Option(metavar="S", help="Only those of this session.")] = None,
    trace: Annotated[str | None, typer.Option(metavar="ID", help="Only those of the trace with this id.")] = None,
    most: Annotated[
        int, typer.Option("--max", metavar="N", help="Show at most this many, the newest.", min=1, max=1_000_000)
    ] = 50,
    json: JsonOption = False,
) -> None:
    """List executions, the newest last.

    Counts and lists those that left records, as the workflow's policy `executions` says. One whose item no task has
    read yet is pending, and not listed; `lag` counts those.
    """
    context = {n: v for n, v in (("user", user), ("session", session), ("trace", trace)) if v is not None}
    run_async(_list(file, log, _status(status), _time_ms(since), context, most, json))


async def _list(
    file: Path, address: str, status: str, since_ms: int | None, context: dict[str, str], most: int, as_json: bool
) -> None:
    from streamflow.cli.execution_tree import stand_facts
    from streamflow.cli.lines import when
    from streamflow.runtime.again_log import links
    from streamflow.runtime.execution_log import Newest, executions_topic
    from streamflow.runtime.execution_meta import headers_of
    from streamflow.runtime.execution_states import Reach

    topology = tracked(file)
    if context and not headers_of(topology):
        mend = "Write `context: {user: header:x-user, …}` below `policies:`; what ran before stays untold."
        fail(f"records of executions of {topology.workflow!r} tell of no {' or '.join(context)}.", mend=mend)
    if hidden := sorted(set(context) & {name for stage in topology.stages for name in stage.redact}):
        fail(f"--{hidden[0]}: the workflow's policy `redact` names {hidden[0]!r}: records do not tell it.")
    async with existing_log(address) as log:
        resumed = (await links(log, topology)).resumed
        newest = Newest(
            Reach.of(topology), status=status, since_ms=since_ms, most=most, resumed=resumed, context=context
        )
        topic = executions_topic(topology)
        if (info := (await log.topics()).get(topic)) is not None:
            await newest.read(log, topic, info.partitions)
    rows = newest.rows().to_dicts()
    if as_json:
        totals = dict(sorted(newest.totals.items()))
        print_json({"workflow": topology.workflow, "totals": totals, "executions": [stand_facts(r) for r in rows]})
        return
    total = newest.totals[status] if status else newest.totals.total()
    if not total:
        print("no executions" + (f" that are {status}" if status else "") + (" of these" if context else ""))
        return
    cells: list[tuple[str, ...]] = [
        (r["execution"], r["status"], when(r["began_ms"]), f"{r['last_ms'] - r['began_ms']} ms", _error(r))
        for r in rows
    ]
    names = [name for name in ("user", "session", "trace") if any(r[name] is not None for r in rows)]
    cells = [(*cell, *(one_line(r[name] or "") for name in names)) for cell, r in zip(cells, rows, strict=True)]
    print(table(cells, ("execution", "status", "began", "lasted", "error", *names)))
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(newest.totals.items()))
    print(f"({counted(newest.totals.total(), 'execution')}: {told})")
    if len(rows) < total:
        print(f"(the newest {len(rows):,} of {total:,}; --max shows more)")


@executions.command()
def show(
    file: FileArgument,
    execution: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `executions list` shows it.")],
    log: LogOption = DEFAULT_LOG,
    json: JsonOption = False,
) -> None:
    """Show one execution: its nodes as a tree, with what each did and when.

    Times are those at which steps began; all nodes of a stage act in the same step.
    """
    run_async(_show(file, execution, log, json))


async def _show(file: Path, execution: str, address: str, as_json: bool) -> None:
    from streamflow.cli.execution_tree import context_facts, facts_of, lines_of, link_facts, print_links
    from streamflow.runtime.again_log import links
    from streamflow.runtime.execution_context import context_of
    from streamflow.runtime.execution_detail import detail
    from streamflow.runtime.execution_log import is_pending, records_of

    topology = tracked(file)
    async with existing_log(address) as log:
        records = await records_of(log, topology, execution)
        pending = records is None and await is_pending(log, topology, execution)
        told = link_facts(await links(log, topology), execution)
        context = await context_of(log, topology, execution)
    if records is None:
        if not pending:
            which = "with a failure " if any(s.tracked == "errors" for s in topology.stages) else ""
            mend = f"`executions list` shows ids; only executions {which}leave records, and as long as they are kept."
            fail(f"there is no execution {execution!r}.", mend=mend)
        if as_json:
            pending_facts = {"workflow": topology.workflow, "execution": execution, "status": "pending"}
            print_json(pending_facts | told | ({"context": context} if context else {}))
        else:
            print(f"{execution}  pending: no task has committed its item yet")
            print_links(told)
        return
    found = detail(records, topology)
    context = context | context_facts(found.stand)
    if as_json:
        print_json(facts_of(found, topology.workflow) | told | ({"context": context} if context else {}))
        return
    print("\n".join(lines_of(found)))
    if context:
        print(one_line(", ".join(f"{name} {value}" for name, value in context.items())))
    print_links(told)


def tracked(file: Path) -> Topology:
    """The compiled workflow. Leaves with 1 if its executions leave no records."""
    _, topology = compile_file(file)
    if all(stage.tracked == "none" for stage in topology.stages):
        fail(
            f"executions of {topology.workflow!r} leave no records.",
            mend="Write `executions: all` (or `errors`) below `policies:`; what ran before stays untold.",
        )
    return topology


def _status(text: str | None) -> str:
    from streamflow.model.execution_status import EXECUTION_STATUSES

    if text is not None and text not in EXECUTION_STATUSES:
        import difflib

        near = difflib.get_close_matches(text, EXECUTION_STATUSES, 1)
        mend = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(EXECUTION_STATUSES)}."
        fail(f"--status {text!r}: no such status.", mend=mend, code=2)
    return text or ""


def _time_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since is an ISO time, not {text!r}.", mend="Write it like 2026-03-01T08:00:00.", code=2)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _error(row: dict[str, Any]) -> str:
    if row["error_code"] is None:
        return ""
    text = one_line(f"{row['error_node']}: {row['error_code']}: {row['error_message']}")
    return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 1] + "…"
