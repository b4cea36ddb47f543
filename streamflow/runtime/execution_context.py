"""What the record that began an execution tells of its context: read where it lies, for as long as it is kept.

An execution's id is the place of that record, so nothing of it has to be written down again.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.expressions.context import TRACEPARENT, header_of, trace_of
from streamflow.model.positions import TopicPartition, position_of
from streamflow.runtime.record_at import record_at
from streamflow.sdk.expression import META_VARS
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology


async def place_of(log: Log, execution: str) -> tuple[TopicPartition, int] | None:
    """Where the record stands that an execution's id names; None where it names none, or a topic that is gone."""
    named = position_of(execution)
    if named is None:
        return None
    topic, incarnation, partition, offset = named
    info = (await log.topics()).get(topic)
    if info is None or info.incarnation != incarnation or partition >= info.partitions:
        return None
    return TopicPartition(topic, partition), offset


async def context_of(log: Log, topology: Topology, execution: str) -> dict[str, str]:
    """Of user, session and trace those that its record tells. Nothing where the record is no longer there."""
    found = await place_of(log, execution)
    if found is None:
        return {}
    record = await record_at(log, *found)
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
