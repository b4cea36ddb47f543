"""Follows journals: every task does again what it did, input for input, and writes to another log.

The outputs are equal to the first run's in keys, values, event times, headers and per-partition order of each task. The
inputs, internal topics included, are those of the first run; only what tasks write is made anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamflow.codecs import SchemaRegistry
from streamflow.codecs.recordbatch import records
from streamflow.model.positions import TopicPartition
from streamflow.runtime.build import Functions
from streamflow.runtime.journal import JournalRecord
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import stage_width
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log, TopicSpec
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import StagePlan, Topology

_READ_BYTES = 4 << 20


async def follow(
    topology: Topology,
    original: Log,
    target: Log,
    *,
    nodes: NodeRegistry,
    functions: Functions | None = None,
    registry: SchemaRegistry | None = None,
    files_folder: Path | None = None,
) -> int:
    """Replay all tasks of a topology from `original` into the empty log `target`; returns the commits that were
    repeated.

    What the workflow writes to files goes below `files_folder`, never to where the first run wrote; where that was
    stopped and started again, files may end at other rows.

    Raises OffsetOutOfRange when inputs that the journal names are no longer kept; UsageError when the workflow acts
    outside the log and there is no `files_folder`.
    """
    topics = await original.topics()
    have = await target.topics()
    for plan in topology.topics:
        if plan.name in topics and plan.name not in have:
            await target.create_topic(TopicSpec(name=plan.name, partitions=topics[plan.name].partitions))
    partitions = {name: info.partitions for name, info in topics.items()}
    commits = 0
    with ThreadPoolExecutor(1) as executor:
        for stage in topology.stages:
            if any(i.source for i in stage.inputs):
                continue  # its items are on the trigger's topic, where the next stage reads them again
            width = stage_width(stage, partitions)
            for partition in range(width):
                program = TaskProgram(
                    topology, stage, partition=partition, tasks=width, topics=topics, nodes=nodes,
                    functions=functions, registry=registry, files_folder=str(files_folder or ""),
                )  # fmt: skip
                program.graph.careful = True  # what was done with care is done so again
                if program.graph.hooks() and files_folder is None:
                    raise UsageError(
                        f"stage {stage.id!r} writes files: a replay would write them again.",
                        mend="Name a folder for the files of the replay.",
                    )
                task = Task(topology, program, target, executor, inputs=original)
                await task.start()
                async for record in journal(original, stage, partition):
                    await task.replay(record)
                    commits += 1
                await task.drain()  # files that are not full get their names as well
    return commits


async def journal(log: Log, stage: StagePlan, partition: int) -> AsyncIterator[JournalRecord]:
    """The journal of a task in the order of its commits."""
    at = TopicPartition(stage.journal, partition)
    position, end = await log.offsets(at)
    while position < end:
        batches = await log.read(at, position, size_bytes_max=_READ_BYTES)
        for batch in batches:
            for record in records(batch):
                if record.offset >= position and record.value is not None:
                    yield JournalRecord.decode(record.value)
        position = batches[-1].last_offset + 1
