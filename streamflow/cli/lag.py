"""`streamflow lag`: how far a workflow is behind its inputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    existing_log,
    run_async,
)
from streamflow.cli.output import print_json, table

if TYPE_CHECKING:
    from streamflow.sdk.log import Log, TopicInfo
    from streamflow.topology.plan import StagePlan, Topology

_STANDBYS_MAX = 16
_STANDBY_COLUMNS = ("stage", "standby", "changelog", "partition", "position", "end", "lag")
_COLUMNS = ("stage", "topic", "partition", "position", "end", "lag")


def lag(file: FileArgument, log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """Show committed positions, ends and lag of every task, and how far its standbys have read its changelogs."""
    run_async(_lag(file, log, json))


async def _lag(file: FileArgument, address: str, as_json: bool) -> None:
    from streamflow.model.positions import TopicPartition
    from streamflow.runtime.control import copies

    _, topology = compile_file(file)
    rows: list[tuple[str, str, int, int, int, int]] = []
    async with existing_log(address) as log:
        existing = await log.topics()
        for stage in topology.stages:
            for entry in (*stage.inputs, *(table.input for table in copies(stage))):
                if entry.source or entry.topic not in existing:
                    continue
                parts = [TopicPartition(entry.topic, p) for p in range(existing[entry.topic].partitions)]
                committed = await log.committed(stage.group(topology.workflow), parts)
                for at in parts:
                    start, end = await log.offsets(at)
                    begin = start if entry.start == "earliest" else end  # where a task without a position begins
                    position = max(committed[at].offset, start) if at in committed else begin
                    rows.append((stage.id, at.topic, at.partition, position, end, max(0, end - position)))
        standbys = [row for stage in topology.stages async for row in _standbys(topology, stage, log, existing)]
    total = sum(row[-1] for row in rows)
    if as_json:
        tasks = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        kept = [dict(zip(_STANDBY_COLUMNS, row, strict=True)) for row in standbys]
        print_json({"workflow": topology.workflow, "lag": total, "tasks": tasks, "standbys": kept})
    else:
        print(table(rows, _COLUMNS))
        print(f"lag {total:,}")
        if standbys:
            print(table(standbys, _STANDBY_COLUMNS))


async def _standbys(
    topology: Topology, stage: StagePlan, log: Log, existing: Mapping[str, TopicInfo]
) -> AsyncIterator[tuple[str, int, str, int, int, int, int]]:
    """What standbys have told, each a few seconds ago while it was there."""
    from streamflow.model.positions import TopicPartition

    groups = await log.groups()
    for number in range(_STANDBYS_MAX):
        told = groups.get(stage.standby_group(topology.workflow, number), {})
        for store in stage.stores:
            for p in range(existing[store.changelog].partitions if store.changelog in existing else 0):
                at = TopicPartition(store.changelog, p)
                if at in told:
                    end = (await log.offsets(at))[1]
                    position = told[at].offset
                    yield stage.id, number, at.topic, p, position, end, max(0, end - position)
