"""What the record that began an execution tells of its context: read where it lies, for as long as it is kept.

An execution's id is the place of that record, so nothing of it has to be written down again.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.codecs.records import records
from streamflow.expressions.context import TRACEPARENT, header_of, trace_of
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange
from streamflow.sdk.expression import META_VARS
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology


async def place_of(log: Log, execution: str) -> tuple[TopicPartition, int] | None:
    """Where the record stands that an execution's id names; None where it names none, or a topic that is gone."""
    source, _, offset = execution.rpartition(":")
    named, _, partition = source.rpartition("/")
    topic, _, incarnation = named.rpartition("#")
    info = (await log.topics()).get(topic)
    if info is None or info.incarnation != incarnation or not (offset.isdecimal() and partition.isdecimal()):
        return None
    at = TopicPartition(topic, int(partition))
    return (at, int(offset)) if at.partition < info.partitions else None


async def context_of(log: Log, topology: Topology, execution: str) -> dict[str, str]:
    """Of user, session and trace those that its record tells. Nothing where the record is no longer there."""
    found = await place_of(log, execution)
    if found is None:
        return {}
    at, offset = found
    try:
        batches = await log.read(at, offset, size_bytes_max=1)
    except OffsetOutOfRange:
        return {}
    record = next((r for batch in batches for r in records(batch) if r.offset == offset), None)
    if record is None:
        return {}
    headers = [{"key": key, "value": value} for key, value in record.headers]
    told = {}
    for name, header in _named(topology).items():
        read = trace_of if name == "trace" and header == TRACEPARENT else header_of
        if (value := read(headers, header)) is not None:
            told[name] = value
    return told


def _named(topology: Topology) -> Mapping[str, str]:
    """Which header tells what."""
    known = topology.vars.get(META_VARS)
    given = known.get("headers", {}) if isinstance(known, dict) else {}
    return {"trace": TRACEPARENT, **given}
