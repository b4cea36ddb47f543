"""What the record that began an execution tells of its context: read where it lies, for as long as it is kept.

An execution's id is the place of that record. Records of executions hold the same where the workflow asks for it; this
tells of what is pending, and of what left no record where it began.
"""

from __future__ import annotations

from streamflow.expressions.context import TRACEPARENT
from streamflow.model.positions import TopicPartition, position_of
from streamflow.runtime.execution_meta import NAMES, headers_of, told
from streamflow.runtime.record_at import record_at
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
    headers: list[dict[str, object]] = [{"key": key, "value": value} for key, value in record.headers]
    names = headers_of(topology) or {"trace": TRACEPARENT}
    redact = {name for stage in topology.stages for name in stage.redact}
    found_in = {name: told(headers, name, names, redact) for name in NAMES}
    return {name: value for name, value in found_in.items() if value is not None}
