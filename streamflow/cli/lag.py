"""`streamflow lag`: how far a workflow is behind its inputs."""

from __future__ import annotations

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    open_log_at,
    print_json,
    run_async,
    table,
)


def lag(file: FileArgument, log: LogOption = DEFAULT_LOG, json: JsonOption = False) -> None:
    """Show committed positions, ends and lag of every task."""
    run_async(_lag(file, log, json))


async def _lag(file: FileArgument, address: str, as_json: bool) -> None:
    from streamflow.model.positions import TopicPartition

    _, topology = compile_file(file)
    log = open_log_at(address)
    await log.open()
    try:
        existing, facts = await log.topics(), []
        for stage in topology.stages:
            for entry in stage.inputs:
                if entry.source or entry.topic not in existing:
                    continue
                parts = [TopicPartition(entry.topic, p) for p in range(existing[entry.topic].partitions)]
                committed = await log.committed(stage.group(topology.workflow), parts)
                for at in parts:
                    start, end = await log.offsets(at)
                    position = committed[at].offset if at in committed else start
                    facts.append(
                        {
                            "stage": stage.id,
                            "topic": at.topic,
                            "partition": at.partition,
                            "position": position,
                            "end": end,
                            "lag": max(0, end - position),
                        }  # fmt: skip
                    )
    finally:
        await log.close()
    if as_json:
        print_json({"workflow": topology.workflow, "lag": sum(f["lag"] for f in facts), "tasks": facts})  # type: ignore[misc]
        return
    columns = ("stage", "topic", "partition", "position", "end", "lag")
    print(table([tuple(f[c] for c in columns) for f in facts], columns))
