"""`streamflow dlq`: items that failed, why, and sending them through again."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    fail,
    open_log_at,
    print_json,
    run_async,
    table,
)

if TYPE_CHECKING:
    from streamflow.runtime.deadletter import DeadLetter
    from streamflow.sdk.log import Log

dlq = typer.Typer(help="Dead letters: items that failed and were kept.", no_args_is_help=True)
_READ_BYTES = 4 << 20
_BATCH = 5_000


@dlq.command("list")
def list_(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    max_records: Annotated[int, typer.Option("--max", help="Show at most this many, the newest.", min=1)] = 50,
    node: Annotated[str | None, typer.Option(help="Only those that failed in this node.")] = None,
    json: JsonOption = False,
) -> None:
    """List dead letters: number, where and why they failed, where the record stands."""
    run_async(_list(file, log, max_records, node, json))


async def _list(file: FileArgument, address: str, max_records: int, node: str | None, as_json: bool) -> None:
    letters = await _load(file, address)
    wanted = [(n, d) for n, d in letters if node in (None, d.node)]
    shown = wanted[-max_records:]
    if as_json:
        print_json({"total": len(wanted), "dead_letters": [{"number": n} | _facts(d) for n, d in shown]})
        return
    rows = [
        (n, d.node, d.code, f"{d.topic}/{d.partition}@{d.offset}" if d.topic else "-", d.message[:80]) for n, d in shown
    ]
    print(table([tuple(r) for r in rows], ("number", "node", "code", "record", "message")))
    if len(shown) < len(wanted):
        print(f"(the newest {len(shown):,} of {len(wanted):,}; --max shows more)")


@dlq.command()
def show(
    file: FileArgument,
    number: Annotated[int, typer.Argument(help="Its number, as `dlq list` shows it.", min=0)],
    log: LogOption = DEFAULT_LOG,
    json: JsonOption = False,
) -> None:
    """Show one dead letter whole: the record byte for byte, its headers, the error."""
    run_async(_show(file, number, log, json))


async def _show(file: FileArgument, number: int, address: str, as_json: bool) -> None:
    letters = dict(await _load(file, address))
    if number not in letters:
        fail(f"there is no dead letter {number}; `dlq list` shows which there are.")
    facts = _facts(letters[number])
    if as_json:
        print_json({"number": number} | facts)
        return
    for name, value in facts.items():
        print(f"{name:<10} {value}")


@dlq.command()
def redrive(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    node: Annotated[
        str | None, typer.Option(help="Only those that failed in this node; others are left for later.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    json: JsonOption = False,
) -> None:
    """Send the original records to their topics again, each dead letter at most once, however often this is called."""
    run_async(_redrive(file, log, node, dry_run, json))


async def _redrive(file: FileArgument, address: str, node: str | None, dry_run: bool, as_json: bool) -> None:
    import orjson

    from streamflow.codecs.records import Record, from_records
    from streamflow.model.positions import Committed, TopicPartition

    _, topology = compile_file(file)
    topic = next(t.name for t in topology.topics if t.kind == "dead_letter")
    group = f"{topology.workflow}.redrive"
    log = open_log_at(address)
    await log.open()
    try:
        existing = await log.topics()
        at = TopicPartition(topic, 0)
        sent, without = 0, 0
        if topic in existing:
            # Taking the producer fences a redrive that runs at the same time: what is read next cannot change under us.
            producer = None if dry_run else await log.producer(group)
            known = (await log.committed(group, [at])).get(at, Committed(0))
            done_after: set[int] = set(orjson.loads(known.metadata)) if known.metadata else set()
            todo = [
                (n, d)
                for n, d in await _read(log, topic)
                if n >= known.offset and n not in done_after and node in (None, d.node)
            ]
            without = sum(not d.topic for _, d in todo)
            able = [(n, d) for n, d in todo if d.topic in existing]
            for i in range(0, len(able), _BATCH):
                part = able[i : i + _BATCH]
                sent += len(part)
                if producer is None:
                    continue
                done_after |= {n for n, _ in part}
                position = known.offset
                if node is None:
                    position, done_after = part[-1][0] + 1, set()
                note = orjson.dumps(sorted(done_after)).decode()
                if len(note) > 4096:
                    fail(
                        f"more than {len(done_after):,} dead letters of one node: redrive all of them, without --node."
                    )
                await producer.begin()
                for target in sorted({TopicPartition(d.topic, d.partition) for _, d in part}):
                    records = [
                        Record(0, d.timestamp_ms, d.key, d.value, [*d.headers, ("streamflow.redrive", str(n).encode())])
                        for n, d in part
                        if (d.topic, d.partition) == target
                    ]
                    await producer.append(target, [from_records(records)])
                await producer.send_offsets(group, {at: Committed(position, note)})
                await producer.commit()
            if producer is not None:
                await producer.close()
    finally:
        await log.close()
    if as_json:
        print_json({"sent": 0 if dry_run else sent, "would_send": sent if dry_run else 0, "without_record": without})
    else:
        print(f"{sent:,} records {'would be ' if dry_run else ''}sent again")
        if without:
            print(f"{without:,} dead letters have no record on a topic; `dlq show` has what is known of them")


async def _load(file: FileArgument, address: str) -> list[tuple[int, DeadLetter]]:
    _, topology = compile_file(file)
    topic = next((t.name for t in topology.topics if t.kind == "dead_letter"), None)
    log = open_log_at(address)
    await log.open()
    try:
        if topic is None or topic not in await log.topics():
            return []
        return await _read(log, topic)
    finally:
        await log.close()


async def _read(log: Log, topic: str) -> list[tuple[int, DeadLetter]]:
    """All dead letters with their offsets: their numbers."""
    from streamflow.model.positions import TopicPartition
    from streamflow.runtime.deadletter import decode_dead_letters

    at = TopicPartition(topic, 0)
    position, end = await log.offsets(at)
    found: list[tuple[int, DeadLetter]] = []
    while position < end:
        batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
        if not batches:
            break
        found += [(letter.position, letter) for letter in decode_dead_letters(batches, first_offset=position)]
        position = batches[-1].last_offset + 1
    return found


def _facts(letter: DeadLetter) -> dict[str, Any]:
    return {
        "workflow": letter.workflow,
        "stage": letter.stage,
        "node": letter.node,
        "code": letter.code,
        "message": letter.message,
        "attempt": letter.attempt,
        "execution": letter.execution,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "key": _bytes(letter.key),
        "value": _bytes(letter.value),
        "headers": {name: _bytes(value) for name, value in letter.headers},
        "item": letter.item,
    }


def _bytes(value: bytes | None) -> object:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    return text if text.isprintable() else {"base64": base64.b64encode(value).decode()}
