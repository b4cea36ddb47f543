"""`streamflow audit`: proves that every record read had exactly one fate, or names what does not add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
from streamflow.cli.output import fail, print_json

if TYPE_CHECKING:
    import asyncio

    from streamflow.model.positions import Committed, OffsetRange, TopicPartition
    from streamflow.runtime.audit import AuditReport
    from streamflow.runtime.ledger import LedgerRecord
    from streamflow.sdk.log import Log, RecordBatch
    from streamflow.topology.plan import Topology

_LOOKS_MAX = 1_000
_READ_BYTES = 4 << 20


def audit(file: FileArgument, log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """Prove that nothing was lost and nothing doubled.

    Adds up the ledger: in = forwarded + filtered + absorbed + failed, range after range; exit 1 if that fails. May be
    asked while the workflow runs: what is added up is the state between two commits.
    """
    import orjson

    report = run_async(_audit(file, log))
    if json:
        print_json(orjson.loads(report.json()))
    else:
        print(report.text() if report.stages else "this workflow has committed nothing on this log yet")
    if not report.ok:
        raise typer.Exit(1)


async def _audit(file: FileArgument, address: str) -> AuditReport:
    import asyncio

    from streamflow.runtime.audit import Known
    from streamflow.runtime.audit import audit as add_up

    _, topology = compile_file(file)
    async with existing_log(address) as log:
        seen = await _look(log, topology)
        read = dict(seen.from_start)
        known = Known(read=read, written=seen.written, stages={s.id: s for s in topology.stages})
        entries = _entries(log, seen, read, asyncio.get_running_loop())
        return await asyncio.to_thread(add_up, entries, known)


@dataclass(slots=True)
class _Seen:
    """One moment of the log: how far ledgers go, how far stages have read, what is on topics that only we write to."""

    ledgers: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)
    committed: dict[tuple[str, TopicPartition], Committed] = field(default_factory=dict)
    from_start: dict[tuple[str, TopicPartition], OffsetRange] = field(default_factory=dict)
    written: dict[TopicPartition, int] = field(default_factory=dict)


async def _look(log: Log, topology: Topology) -> _Seen:
    """A moment between two commits: one before and after which the ledgers end at the same offsets."""
    for _ in range(_LOOKS_MAX):
        seen = await _look_once(log, topology)
        if all([(await log.offsets(at))[1] == end for at, (_, end) in seen.ledgers.items()]):
            break
    else:
        fail("the workflow commits faster than its ledger can be looked at.", mend="Audit it when it is stopped.")
    return seen


async def _look_once(log: Log, topology: Topology) -> _Seen:
    from streamflow.model.positions import OffsetRange, TopicPartition

    seen, existing = _Seen(), await log.topics()
    for stage in topology.stages:
        if stage.ledger in existing:
            places = [TopicPartition(stage.ledger, p) for p in range(existing[stage.ledger].partitions)]
            seen.ledgers |= {at: await log.offsets(at) for at in places}
    groups = await log.groups()
    for stage in topology.stages:
        from_start = {i.topic for i in stage.inputs if i.start == "earliest"}
        for at, position in groups.get(stage.group(topology.workflow), {}).items():
            seen.committed[stage.id, at] = position
            if at.topic in from_start and at.topic in existing and (await log.offsets(at))[0] == 0:
                seen.from_start[stage.id, at] = OffsetRange(0, position.offset)
    for topic in topology.topics:
        if topic.kind in ("trigger", "repartition") and topic.name in existing:
            for p in range(existing[topic.name].partitions):
                at = TopicPartition(topic.name, p)
                records = await _records_on(log, at)
                if records is not None:
                    seen.written[at] = records
    return seen


async def _records_on(log: Log, at: TopicPartition) -> int | None:
    """How many records were ever written to a partition; None where the first ones are gone.

    On Kafka the ends of transactions take offsets as well, so batches are read and their records counted.
    """
    from streamflow.logs import EmbeddedLog

    start, end = await log.offsets(at)
    if start > 0:
        return None
    if isinstance(log, EmbeddedLog):
        return end
    position, records = start, 0
    while position < end and (batches := await log.read(at, position, size_bytes_max=_READ_BYTES)):
        records += sum(batch.count for batch in batches if batch.last_offset < end)
        position = batches[-1].last_offset + 1
    return records


def _entries(
    log: Log, seen: _Seen, read: dict[tuple[str, TopicPartition], OffsetRange], loop: asyncio.AbstractEventLoop
) -> Iterator[LedgerRecord]:
    """Ledger records one by one, read as they are asked for, so that a ledger of any length fits into memory.

    What was not read from a topic's start began where its first ledger record begins: that goes into `read` at the end,
    which is when the audit looks at it.
    """
    from streamflow.codecs.recordbatch import records
    from streamflow.model.positions import OffsetRange
    from streamflow.runtime.ledger import LedgerRecord

    begun: dict[tuple[str, TopicPartition], int] = {}
    for at, (start, end) in seen.ledgers.items():
        for batch in _batches(log, at, start, end, loop):
            for record in records(batch):
                if record.value is None or not start <= record.offset < end:
                    continue
                entry = LedgerRecord.decode(record.value)
                for source in entry.sources:
                    begun.setdefault((entry.stage, source.at), source.range.first)
                yield entry
    for place, position in seen.committed.items():
        if place not in read:
            read[place] = OffsetRange(begun.get(place, position.offset), position.offset)


def _batches(
    log: Log, at: TopicPartition, position: int, end: int, loop: asyncio.AbstractEventLoop
) -> Iterator[RecordBatch]:
    import asyncio

    while position < end:
        reading = asyncio.run_coroutine_threadsafe(log.read(at, position, size_bytes_max=_READ_BYTES), loop)
        batches = reading.result()
        if not batches:
            return
        yield from batches
        position = batches[-1].last_offset + 1
