"""Adds up the ledgers of a workflow on a log, with all that the log itself tells."""

from __future__ import annotations

from streamflow.codecs.recordbatch import records
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.audit import AuditReport, Known, audit
from streamflow.runtime.ledger import LedgerRecord
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology


async def ledger(log: Log, topology: Topology) -> list[LedgerRecord]:
    """All ledger records of a workflow, each task's in order."""
    entries, existing = [], await log.topics()
    for stage in topology.stages:
        for p in range(existing[stage.ledger].partitions):
            at = TopicPartition(stage.ledger, p)
            position, end = await log.offsets(at)
            while position < end:
                for batch in await log.read(at, position, size_bytes_max=1 << 20):
                    entries += [LedgerRecord.decode(r.value) for r in records(batch) if r.value is not None]
                    position = batch.last_offset + 1
    return entries


async def audited(log: Log, topology: Topology) -> AuditReport:
    """The audit of a workflow whose inputs were all read from their start, and to whose topics nobody else wrote."""
    groups, written = await log.groups(), {}
    read = {
        (stage.id, at): OffsetRange(0, position.offset)
        for stage in topology.stages
        for at, position in groups.get(stage.group(topology.workflow), {}).items()
    }
    for topic in topology.topics:
        if topic.kind in ("trigger", "repartition", "sink"):
            for p in range((await log.topics())[topic.name].partitions):
                at = TopicPartition(topic.name, p)
                written[at] = (await log.offsets(at))[1]
    known = Known(read=read, written=written, stages={s.id: s for s in topology.stages})
    return audit(await ledger(log, topology), known)
