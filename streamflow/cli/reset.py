"""`streamflow reset`: forget what a workflow has done, so that it starts from the beginning."""

from __future__ import annotations

from typing import Annotated

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    fail,
    open_log_at,
    print_json,
    run_async,
)


def reset(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    outputs: Annotated[bool, typer.Option("--outputs", help="Delete the topics that it publishes to as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete a workflow's internal topics and committed positions. Its source topics stay as they are."""
    run_async(_reset(file, log, outputs, yes, json))


async def _reset(file: FileArgument, address: str, outputs: bool, yes: bool, as_json: bool) -> None:
    from streamflow.logs.embedded import EmbeddedLog

    _, topology = compile_file(file)
    log = open_log_at(address)
    await log.open()
    try:
        existing = await log.topics()
        kinds = {"trigger", "repartition", "changelog", "dead_letter", "ledger", "journal"} | (
            {"sink"} if outputs else set()
        )
        gone = [t.name for t in topology.topics if t.kind in kinds and t.name in existing]
        groups = [s.group(topology.workflow) for s in topology.stages]
        known = await log.groups()
        if not yes:
            for name in gone:
                typer.echo(f"delete topic {name}", err=True)
            for group in groups:
                if group in known:
                    typer.echo(f"forget positions of {group}", err=True)
            if not typer.confirm("Go on?", err=True):
                fail("nothing was changed.")
        assert isinstance(log, EmbeddedLog)
        with log.lock(topology.workflow):
            for name in gone:
                await log.delete_topic(name)
            for group in groups:
                positions = dict((await log.groups()).get(group, {}))
                if positions:
                    await log.set_offsets(group, dict.fromkeys(positions))
    finally:
        await log.close()
    if as_json:
        print_json({"workflow": topology.workflow, "deleted": gone, "groups": groups})
    else:
        print(f"{topology.workflow}: {len(gone)} topics deleted, positions of {len(groups)} stages forgotten")
