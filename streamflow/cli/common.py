"""What commands share: options, loading a workflow, opening a log, running on an event loop."""

from __future__ import annotations

import contextlib
import enum
import gc
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from streamflow.cli.output import fail, note_json, use_color

if TYPE_CHECKING:
    from streamflow.codecs.registry import SchemaRegistry
    from streamflow.sdk.log import Log, TopicInfo
    from streamflow.sdk.places import Diagnostic
    from streamflow.topology.plan import Topology
    from streamflow.workflow.model import WorkflowDocument

DEFAULT_LOG = ".streamflow/log"
T = TypeVar("T")


class StateChoice(enum.StrEnum):
    """What `--state` may be."""

    memory = "memory"
    rocksdb = "rocksdb"


# Objects made since the last look for garbage: a portion of untyped items is thousands of them, none in a cycle.
_GARBAGE_AFTER = 20_000

LogOption = Annotated[
    str, typer.Option("--log", envvar="STREAMFLOW_LOG", metavar="PATH", help="The log: a folder, or kafka://HOST:PORT.")
]
JsonOption = Annotated[bool, typer.Option("--json", callback=note_json, help="Print facts as JSON.")]
EnvironmentOption = Annotated[
    str,
    typer.Option(
        "--env",
        envvar="STREAMFLOW_ENVIRONMENT",
        metavar="NAME",
        help="The environment whose vars hold. Default: what the workflow says.",
    ),
]
StateOption = Annotated[
    StateChoice | None,
    typer.Option(help="Where tasks keep state: memory, or rocksdb (on disk). Default: what the workflow says."),
]
StateDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of state on disk. A later run goes on from it; it can always be made again from the log.",
        show_default=".streamflow/state",
    ),
]
StandbysOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=16,
        help="So many other workers keep each task's state up to date, on Kafka. Default: what the workflow says.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        envvar="STREAMFLOW_THREADS",
        metavar="N",
        min=1,
        max=1024,
        help="Threads that compute in a process, for all workflows in it. Default: one a core, at least 2.",
    ),
]
HeldBytesOption = Annotated[
    int,
    typer.Option(
        "--held-bytes-max",
        envvar="STREAMFLOW_HELD_BYTES_MAX",
        metavar="BYTES",
        min=1,
        help="What all tasks of a process may have read or made and not committed; more waits on the log.",
    ),
]
HeldExecutionsOption = Annotated[
    int,
    typer.Option(
        "--held-executions-max",
        envvar="STREAMFLOW_HELD_EXECUTIONS_MAX",
        metavar="N",
        min=1,
        help="How many executions all tasks of a process may have begun and not committed; more wait on the log.",
    ),
]
FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The workflow: a .yaml file, or a .py file with a `workflow` (flow.py:name for another)."
    ),
]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="The workflows, each a .yaml file, or a .py file with a `workflow` (flow.py:name for another). Several "
        "share the process, by their policy `weight`.",
    ),
]
RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry", metavar="PATH", help="Schema registry: a folder or URL. Default: `schemas` in the log's folder."
    ),
]

# What an embedded log keeps in its folder: anything else there means that the folder is not a log.
_OF_A_LOG = frozenset(("lock", "head", "snapshot", "journal", "topics", "locks", "schemas", "snapshot.new"))


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fast event loop."""
    import uvloop

    gc.freeze()  # what was loaded stays; no collection need go through it again
    gc.set_threshold(_GARBAGE_AFTER, 20, 20)
    gc.enable()
    result: T = uvloop.run(work)
    return result


def load_file(
    file: Path, *, cases: bool = False, environment: str = ""
) -> tuple[WorkflowDocument | None, Topology | None, list[Diagnostic]]:
    """Load and compile a workflow, with all findings; `cases` adds those of *.test.yaml beside it.

    Leaves with 2 if the file cannot be read at all.
    """
    from streamflow.compiler import compile_document
    from streamflow.nodes import registry
    from streamflow.workflow.cases import load_cases, with_cases
    from streamflow.workflow.environments import VARIABLE
    from streamflow.workflow.load import load

    _check_readable(file)
    # A Python file may print while it builds its workflow; stdout belongs to the command.
    with contextlib.redirect_stdout(sys.stderr):
        document, findings = load(file)
        if document is None:
            return None, None, findings
        document = replace(document, environment=environment or os.environ.get(VARIABLE, ""))
        if cases:
            found_cases, found = load_cases(document)
            document, findings = with_cases(document, found_cases), [*findings, *found]
        topology, found = compile_document(document, registry())
    findings = [*findings, *found]
    if any(f.severity == "error" for f in findings):
        topology = None
    return document, topology, findings


def compile_file(file: Path, *, cases: bool = False, environment: str = "") -> tuple[WorkflowDocument, Topology]:
    """Load and compile a workflow. What is wrong with it goes to stderr, and the command leaves if it cannot run."""
    from streamflow.workflow.diagnostics import render, to_json

    document, topology, findings = load_file(file, cases=cases, environment=environment)
    if findings:
        print(render(findings, color=use_color()), file=sys.stderr)
    if document is None or topology is None:
        fail(f"{file} cannot run; `streamflow check` tells the same.", diagnostics=to_json(findings))
    return document, topology


def _check_readable(file: Path) -> None:
    stem, _, _ = str(file).rpartition(":")
    path = Path(stem) if stem.endswith(".py") else file
    if path.is_dir():
        inside = path / "workflow.yaml"
        fail(f"{str(path)!r} is a folder.", mend=f"Name the file: {inside}" if inside.is_file() else "", code=2)
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        fail(f"there is no file {str(path)!r}.", code=2)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        fail(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}.", code=2)


def log_exists(address: str) -> bool:
    """Whether there is a log at the address. A folder that holds something else is none: leaves with 2."""
    from streamflow.logs import open_log  # raises UsageError for addresses that nothing serves

    open_log(address)
    if address.startswith("kafka://"):
        return True  # a cluster is there or it is not; opening it tells
    folder = Path(address)
    if folder.exists() and not folder.is_dir():
        fail(f"--log {address!r} is a file.", mend="Give a folder.", code=2)
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    if "head" not in names and not names <= _OF_A_LOG:
        mend = "Give the folder of a log, or one that is empty or not there yet."
        fail(f"--log {address!r} is a folder that holds something else: {min(names - _OF_A_LOG)!r}.", mend=mend, code=2)
    return "head" in names


@contextlib.asynccontextmanager
async def writable_log(address: str) -> AsyncIterator[Log]:
    """The log at the address, made if it is not there."""
    from streamflow.logs import open_log

    log_exists(address)
    log = open_log(address)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def existing_log(address: str) -> AsyncIterator[Log]:
    """The log at the address. Looking at a log never makes one: leaves with 1 if it is not there."""
    if not log_exists(address):
        fail(f"there is no log at {address!r} yet.", mend="`streamflow send` and `streamflow run` make one.")
    async with writable_log(address) as log:
        yield log


@contextlib.asynccontextmanager
async def nobody_runs(log: Log, workflow: str) -> AsyncIterator[None]:
    """Nobody runs the workflow meanwhile: by its lock on an embedded log; on Kafka, nobody does at the beginning.

    Raises LogBusy.
    """
    from streamflow.logs import EmbeddedLog
    from streamflow.logs.kafka import KafkaLog
    from streamflow.sdk.errors import LogBusy

    if isinstance(log, EmbeddedLog):
        with log.lock(workflow):
            yield
        return
    assert isinstance(log, KafkaLog)
    members = await log.members(workflow)
    if members:
        raise LogBusy(
            f"workflow {workflow!r} is run by {len(members)} worker{'s' * (len(members) > 1)}: {', '.join(members)}.",
            mend="Stop them first.",
        )
    yield


def schema_registry(address: str, named: str = "", base_folder: str = "") -> SchemaRegistry:
    """The registry that is named (a folder relative to `base_folder`), else `schemas` inside the log's folder.

    A cluster has no folder: `.streamflow/schemas` is its.
    """
    from streamflow.codecs.registry import FileRegistry

    if named.startswith(("http://", "https://")):
        from streamflow.codecs.registry import HttpRegistry  # which takes long to load

        return HttpRegistry(named)
    if named:
        return FileRegistry(Path(base_folder) / named)
    return FileRegistry((Path(DEFAULT_LOG).parent if address.startswith("kafka://") else Path(address)) / "schemas")


def need_topic(topic: str, existing: dict[str, TopicInfo]) -> None:
    """Leaves with 1 if the topic does not exist, naming the nearest one that does."""
    if topic not in existing:
        import difflib

        near = difflib.get_close_matches(topic, existing, 1)
        fail(f"there is no topic {topic!r}.", mend=f"Did you mean {near[0]!r}?" if near else "")
