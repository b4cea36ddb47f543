"""`streamflow lag`: how far a workflow is behind its inputs."""

from __future__ import annotations

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

_COLUMNS = ("stage", "topic", "partition", "position", "end", "lag")


def lag(file: FileArgument, log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """Show committed positions, ends and lag of every task."""
    run_async(_lag(file, log, json))


async def _lag(file: FileArgument, address: str, as_json: bool) -> None:
    from streamflow.model.positions import TopicPartition

    _, topology = compile_file(file)
    rows: list[tuple[str, str, int, int, int, int]] = []
    async with existing_log(address) as log:
        existing = await log.topics()
        for stage in topology.stages:
            for entry in stage.inputs:
                if entry.source or entry.topic not in existing:
                    continue
                parts = [TopicPartition(entry.topic, p) for p in range(existing[entry.topic].partitions)]
                committed = await log.committed(stage.group(topology.workflow), parts)
                for at in parts:
                    start, end = await log.offsets(at)
                    begin = start if entry.start == "earliest" else end  # where a task without a position begins
                    position = max(committed[at].offset, start) if at in committed else begin
                    rows.append((stage.id, at.topic, at.partition, position, end, max(0, end - position)))
    total = sum(row[-1] for row in rows)
    if as_json:
        tasks = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        print_json({"workflow": topology.workflow, "lag": total, "tasks": tasks})
    else:
        print(table(rows, _COLUMNS))
        print(f"lag {total:,}")
