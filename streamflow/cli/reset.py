"""`streamflow reset`: forget what a workflow has done, so that it starts from the beginning."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    FileArgument,
    JsonOption,
    LogOption,
    compile_file,
    log_exists,
    nobody_runs,
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.output import counted, fail, note, print_json

if TYPE_CHECKING:
    from streamflow.topology.plan import Topology


def reset(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    outputs: Annotated[bool, typer.Option("--outputs", help="Delete the topics that it publishes to as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    json: JsonOption = False,
) -> None:
    """Forget what a workflow has done, so that it starts anew.

    Deletes its internal topics with their schemas, and its committed positions. Source topics stay as they are.
    """
    _, topology = compile_file(file)
    gone: list[str] = []
    groups: list[str] = []
    if log_exists(log):
        gone, groups = run_async(_reset(topology, log, outputs, yes))
    if json:
        print_json({"workflow": topology.workflow, "deleted": gone, "groups": groups})
    else:
        done = f"{counted(len(gone), 'topic')} deleted, positions of {counted(len(groups), 'stage')} forgotten"
        print(f"{topology.workflow}: {done}")


async def _reset(topology: Topology, address: str, outputs: bool, yes: bool) -> tuple[list[str], list[str]]:
    from streamflow.topology.plan import TopicKind

    async with writable_log(address) as log:
        async with nobody_runs(log, topology.workflow):
            existing, known = await log.topics(), await log.groups()
            kinds = frozenset(get_args(TopicKind)) - {"source"} - (frozenset() if outputs else {"sink"})
            gone = [t.name for t in topology.topics if t.kind in kinds and t.name in existing]
            groups = [g for s in topology.stages for g in known if s.is_group(topology.workflow, g)]
            if (gone or groups) and not yes:
                _ask(gone, groups)
            for name in gone:
                await log.delete_topic(name)
            for group in groups:
                left = (await log.groups()).get(group)
                if left:
                    await log.set_offsets(group, dict.fromkeys(left))
        # Topics that come back are new ones: whatever schema they get then.
        _forget_schemas(topology, address, gone)
    return gone, groups


def _ask(gone: list[str], groups: list[str]) -> None:
    for name in gone:
        print(f"delete topic {name}", file=sys.stderr)
    for group in groups:
        print(f"forget positions of {group}", file=sys.stderr)
    try:
        wanted = typer.confirm("Go on?", err=True)
    except typer.Abort:  # nobody is there to answer
        wanted = False
    if not wanted:
        fail("nothing was changed.", mend="--yes does it without asking.")


def _forget_schemas(topology: Topology, address: str, topics: list[str]) -> None:
    from streamflow.codecs.registry import FileRegistry

    registry = schema_registry(address, topology.registry, topology.base_folder)
    if isinstance(registry, FileRegistry):
        for topic in topics:
            registry.forget(f"{topic}-value")
    elif topics:
        note(f"schemas of these topics stay registered at {topology.registry}.")
