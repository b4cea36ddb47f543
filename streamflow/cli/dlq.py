"""`streamflow dlq`: items that failed, why, and sending them through again."""

from __future__ import annotations

import shlex
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    RegistryOption,
    compile_file,
    existing_log,
    run_async,
    schema_registry,
)
from streamflow.cli.output import counted, fail, one_line, print_json, table

if TYPE_CHECKING:
    from pathlib import Path

    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.topology.plan import Topology

dlq = typer.Typer(help="Dead letters: items that failed and were kept.", no_args_is_help=True)
_MESSAGE_CHARS = 80

NodeOption = Annotated[str | None, typer.Option(metavar="ID", help="Only those that failed in this node.")]


@dlq.command("list")
def list_(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    max_records: Annotated[
        int, typer.Option("--max", metavar="N", help="Show at most this many, the newest.", min=1, max=1_000_000)
    ] = 50,
    node: NodeOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters, the newest last."""
    run_async(_list(file, log, max_records, node, json))


async def _list(file: Path, address: str, max_records: int, node: str | None, as_json: bool) -> None:
    from streamflow.runtime.dead_letter_log import pages

    topology = _checked(file, node)
    kept: deque[DeadLetter] = deque(maxlen=max_records)
    total = 0
    async with existing_log(address) as log:
        async for page in pages(log, topology):
            found = [letter for letter in page if node in (None, letter.node)]
            kept.extend(found)
            total += len(found)
    if as_json:
        print_json({"total": total, "dead_letters": [facts_of(letter) for letter in kept]})
        return
    if not total:
        print("no dead letters")
        return
    rows = [(d.position, d.node, d.code, _record(d), _short(d.message)) for d in kept]
    print(table(rows, ("number", "node", "code", "record", "message")))
    if len(kept) < total:
        print(f"(the newest {len(kept):,} of {total:,}; --max shows more)")


@dlq.command()
def show(
    file: FileArgument,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Its number, as `dlq list` shows it.", min=0)],
    log: LogOption = DEFAULT_LOG,
    registry: RegistryOption = "",
    json: JsonOption = False,
) -> None:
    """Show one dead letter whole, its record byte for byte."""
    run_async(_show(file, number, log, registry, json))


async def _show(file: Path, number: int, address: str, registry: str, as_json: bool) -> None:
    import orjson

    from streamflow.cli.values import Values
    from streamflow.runtime.dead_letter_log import pages

    topology = _checked(file, None)
    async with existing_log(address) as log:
        found = [d async for page in pages(log, topology, number, stop=number + 1) for d in page]
    letter = next((d for d in found if d.position == number), None)
    if letter is None:
        fail(f"there is no dead letter {number}; `dlq list` shows which there are.")
    facts = facts_of(letter)
    if letter.topic and letter.value is not None:
        schemas = schema_registry(address, registry or topology.registry, "" if registry else topology.base_folder)
        if not isinstance(facts["value"], str):
            facts["decoded"] = orjson.loads(Values(letter.topic, schemas).show([letter.value])[0])
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name in ("key", "headers", "decoded") and not value:
            continue
        text = value if isinstance(value, str) else "-" if value is None else orjson.dumps(value).decode()
        print(f"{name:<10} {one_line(text)}")
    if letter.execution and any(topic.kind == "executions" for topic in topology.topics):
        shown = shlex.join(["streamflow", "executions", "show", str(file), letter.execution])
        print(f"{'history':<10} {shown}")


@dlq.command()
def redrive(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    node: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only those that failed in this node; others are left for later."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    json: JsonOption = False,
) -> None:
    """Send the records of dead letters to their topics again.

    Each dead letter is sent at most once, however often this is called, and by however many at a time.
    """
    run_async(_redrive(file, log, node, dry_run, json))


async def _redrive(file: Path, address: str, node: str | None, dry_run: bool, as_json: bool) -> None:
    from streamflow.cli.redrive import Redrive
    from streamflow.sdk.errors import Fenced

    topology = _checked(file, node)
    async with existing_log(address) as log:
        work = Redrive(log, topology, node)
        try:
            await work.run(dry_run=dry_run)
        except Fenced:
            mend = "What this one had sent is sent; the other goes on from there."
            fail(f"another `dlq redrive` of {topology.workflow!r} has taken over.", mend=mend, sent=work.sent)
    if as_json:
        counts = {"sent": 0 if dry_run else work.sent, "would_send": work.sent if dry_run else 0}
        print_json(counts | {"without_record": work.without_record, "undone": work.undone})
        return
    print(f"{counted(work.sent, 'record')} {'would be ' if dry_run else ''}sent again")
    if work.undone:
        print(
            f"{work.undone} of them had been undone: all steps are done anew, and where an item fails again its "
            "compensations run once more"
        )
    if work.without_record:
        print(
            f"{counted(work.without_record, 'dead letter')} without a record on a topic: `dlq show` has what is known"
        )


def _checked(file: Path, node: str | None) -> Topology:
    """The compiled workflow. Leaves with 2 if the node is none of its nodes: letters of nodes that are gone count too,
    but a misspelt name must not look as if there were none.
    """
    document, topology = compile_file(file)
    ids = [n.id for n in document.nodes]
    ids += [n.id for stage in topology.stages for n in stage.nodes if n.id not in ids]  # parts of nodes
    if node is not None and node not in ids:
        import difflib

        near = difflib.get_close_matches(node, ids, 1)
        fail(f"--node {node!r}: no such node.", mend=f"Did you mean {near[0]!r}?" if near else "", code=2)
    return topology


def facts_of(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON; bytes that are no text are {"base64": …}."""
    from streamflow.cli.lines import when
    from streamflow.cli.values import text_or_base64

    return {
        "number": letter.position,
        "workflow": letter.workflow,
        "stage": letter.stage,
        "node": letter.node,
        "code": letter.code,
        "message": letter.message,
        "attempt": letter.attempt,
        "execution": letter.execution,
        "topic": letter.topic or None,
        "partition": letter.partition if letter.topic else None,
        "offset": letter.offset if letter.topic else None,
        "timestamp": when(letter.timestamp_ms),
        "key": text_or_base64(letter.key),
        "value": text_or_base64(letter.value),
        "headers": [[name, text_or_base64(value)] for name, value in letter.headers],
        "item": letter.item,
    }


def _record(letter: DeadLetter) -> str:
    return f"{letter.topic}/{letter.partition}@{letter.offset}" if letter.topic else "-"


def _short(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARS else f"{message[: _MESSAGE_CHARS - 1]}…"
