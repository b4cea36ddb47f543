"""`streamflow audit`: proves that every record read had exactly one fate, or names what does not add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    open_log_at,
    run_async,
)

if TYPE_CHECKING:
    from streamflow.runtime.audit import Known
    from streamflow.runtime.ledger import LedgerRecord
    from streamflow.sdk.log import Log
    from streamflow.topology.plan import Topology


def audit(file: FileArgument, log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """Add up the ledger: in = forwarded + filtered + absorbed + failed, range after range. Exit 1 if it does not balance."""
    run_async(_audit(file, log, json))


async def _audit(file: FileArgument, address: str, as_json: bool) -> None:
    from streamflow.codecs.recordbatch import records
    from streamflow.model.positions import TopicPartition
    from streamflow.runtime.audit import audit as add_up
    from streamflow.runtime.ledger import LedgerRecord

    _, topology = compile_file(file)
    log = open_log_at(address)
    await log.open()
    try:
        existing = await log.topics()
        entries = []
        for stage in topology.stages:
            for p in range(existing[stage.ledger].partitions if stage.ledger in existing else 0):
                at = TopicPartition(stage.ledger, p)
                position, end = await log.offsets(at)
                while position < end:
                    for batch in await log.read(at, position, size_bytes_max=4 << 20):
                        entries += [LedgerRecord.decode(r.value) for r in records(batch) if r.value is not None]
                        position = batch.last_offset + 1
        known = await _known(log, topology, entries)
    finally:
        await log.close()
    report = add_up(entries, known)
    if as_json:
        print(report.json())
    else:
        print(report.text())
    if not report.ok:
        raise typer.Exit(1)


async def _known(log: Log, topology: Topology, entries: Sequence[LedgerRecord]) -> Known:
    """What the log itself says: how far each stage committed, and how much is on topics that only we write to."""
    from streamflow.model.positions import OffsetRange, TopicPartition
    from streamflow.runtime.audit import Known

    existing, groups = await log.topics(), await log.groups()
    begun: dict[tuple[str, TopicPartition], int] = {}
    for entry in entries:
        for source in entry.sources:
            begun.setdefault((entry.stage, source.at), source.range.first)
    read = {}
    for stage in topology.stages:
        from_start = {i.topic for i in stage.inputs if i.start == "earliest"}
        for at, position in groups.get(stage.group(topology.workflow), {}).items():
            whole = (
                (at.topic in from_start or not at.topic) and at.topic in existing and (await log.offsets(at))[0] == 0
            )
            first = 0 if whole else begun.get((stage.id, at), position.offset)
            read[stage.id, at] = OffsetRange(first, position.offset)
    ours = {t.name for t in topology.topics if t.kind in ("trigger", "repartition")}
    written = {}
    for name in ours & existing.keys():
        for p in range(existing[name].partitions):
            at = TopicPartition(name, p)
            written[at] = (await log.offsets(at))[1]
    return Known(read=read, written=written, stages={s.id: s for s in topology.stages})
