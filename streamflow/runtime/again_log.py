"""Reads what a workflow was given again off the log, for commands: few records, kept as long as the workflow is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from streamflow.model.positions import TopicPartition
from streamflow.runtime.again_records import Again, decode_again
from streamflow.sdk.log import Log, TopicInfo
from streamflow.topology.plan import Topology

_READ_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Links:
    """How executions hang together. `retry_of`: by retry, what it retries; `retried_as`: the other way round;
    `resumed`: executions of which dead letters were given again; `compensated`: whose steps a command has undone.
    """

    retry_of: dict[str, str]
    retried_as: dict[str, list[str]]
    resumed: frozenset[str]
    compensated: frozenset[str]


def again_topic(topology: Topology) -> str:
    """The topic of items that a workflow is given again; "" where it is given none."""
    return next((t.name for t in topology.topics if t.kind == "again"), "")


async def given_again(log: Log, topology: Topology) -> list[tuple[int, Again]]:
    """All that was ever given again, with its partition, partition after partition."""
    info = (await log.topics()).get(again_topic(topology))
    if info is None:
        return []
    found = []
    for p in range(info.partitions):
        found += [(p, record) async for record in read_again(log, TopicPartition(info.name, p), 0)]
    return found


async def links(log: Log, topology: Topology) -> Links:
    """How executions hang together, of all."""
    info = (await log.topics()).get(again_topic(topology))
    retry_of: dict[str, str] = {}
    retried_as: dict[str, list[str]] = {}
    resumed, compensated = set[str](), set[str]()
    for p, record in await given_again(log, topology):
        if record.action == "retry" and info is not None:
            retry_of[retry_id(info, p, record)] = record.execution
            retried_as.setdefault(record.execution, []).append(retry_id(info, p, record))
        elif record.action == "compensate":
            compensated.add(record.execution)
        else:
            resumed.add(record.execution)
    return Links(retry_of, retried_as, frozenset(resumed), frozenset(compensated))


def retry_id(topic: TopicInfo, partition: int, record: Again) -> str:
    """The execution that a retry begins."""
    return f"{topic.name}#{topic.incarnation}/{partition}:{record.position}"


async def read_again(log: Log, at: TopicPartition, position: int) -> AsyncIterator[Again]:
    """Records of a partition from an offset on, to its end."""
    start, end = await log.offsets(at)
    position = max(position, start)
    while position < end and (batches := await log.read(at, position, size_bytes_max=_READ_BYTES)):
        for batch in batches:
            for record in decode_again([batch], first_offset=position):
                yield record
        position = batches[-1].last_offset + 1
