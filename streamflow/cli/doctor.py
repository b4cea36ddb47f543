"""`streamflow doctor`: is this machine, this log and (if given) this workflow's ground sound?"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    JsonOption,
    LogOption,
    load_file,
    log_exists,
    nobody_runs,
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.output import counted, print_json

if TYPE_CHECKING:
    from streamflow.sdk.log import Log, TopicInfo
    from streamflow.topology.plan import TopicPlan, Topology

_FREE_BYTES_MIN = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""

    def __str__(self) -> str:
        found = f"{self.found.rstrip('.')}. {self.mend}" if self.mend else self.found
        return f"{self.state:<8} {self.what}: {found}"


def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A workflow whose topics to look at as well.")
    ] = None,
    log: LogOption = DEFAULT_LOG,
    json: JsonOption = False,
) -> None:
    """Look at the machine, the log, and a workflow's topics.

    Exit 1 if something is wrong.
    """
    findings = list(_machine())
    topology = None
    if file is not None:
        _, topology, found = load_file(file)
        errors = [f for f in found if f.severity == "error"]
        if topology is None:
            mend = "`streamflow check` tells more."
            findings.append(Finding(f"workflow {file}", "wrong", f"{counted(len(errors), 'error')}: {errors[0]}", mend))
        else:
            findings.append(Finding(f"workflow {file}", "ok", f"{counted(len(topology.stages), 'stage')}"))
    findings += _space(log)
    if log_exists(log):
        findings += run_async(_log(log, topology))
    else:
        findings.append(Finding("log", "ok", f"{log} does not exist yet; the first send or run makes it"))
    if json:
        print_json([asdict(f) for f in findings])
    else:
        for finding in findings:
            print(finding)
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)


def _machine() -> Iterator[Finding]:
    import polars as pl

    threads = f"{counted(pl.thread_pool_size(), 'thread')}, {counted(os.cpu_count() or 1, 'core')}"
    yield Finding("Python", "ok", platform.python_version())
    yield Finding("polars", "ok", f"{pl.__version__}, {threads}")
    java = shutil.which("java")
    if java is None:
        yield Finding("Java", "ok", "none; only `streamflow dev kafka` needs it (17 or newer)")
        return
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
        yield Finding("Java", "ok", ((told.stderr or told.stdout).splitlines() or ["says nothing"])[0])
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("Java", "warning", f"{java} does not run: {error}", "Only `streamflow dev kafka` needs it.")


def _space(address: str) -> Iterator[Finding]:
    if "://" in address:
        return
    folder = Path(address).absolute()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    low = free < _FREE_BYTES_MIN
    yield Finding(
        "disk", "warning" if low else "ok", f"{free / (1 << 30):.1f} GiB free", "Make room for the log." if low else ""
    )
    if not os.access(there, os.W_OK):
        yield Finding("log", "wrong", f"{there} cannot be written to", "Change its owner or mode, or use another log.")


async def _log(address: str, topology: Topology | None) -> list[Finding]:
    from streamflow.sdk.errors import LogError

    try:
        async with writable_log(address) as log:
            found = [await _records(log)]
            if topology is not None:
                found += await _workflow(log, address, topology)
            return found
    except LogError as error:
        return [Finding("log", "wrong", error.message, error.mend)]


async def _records(log: Log) -> Finding:
    from streamflow.model.positions import TopicPartition

    topics, records = await log.topics(), 0
    for name, info in topics.items():
        for p in range(info.partitions):
            at = TopicPartition(name, p)
            start, end = await log.offsets(at)
            records += end - start
            if end > start:
                await log.read(at, end - 1, size_bytes_max=1)  # the last batch must open: CRC and all
    sizes = f"{counted(len(topics), 'topic')}, {counted(records, 'record')}"
    return Finding("log", "ok", f"{log.address}: {sizes}; the last batch of each partition is sound")


async def _workflow(log: Log, address: str, topology: Topology) -> list[Finding]:
    from streamflow.sdk.errors import LogBusy

    existing = await log.topics()
    found = [_topic(topic, existing.get(topic.name)) for topic in topology.topics]
    found += _partitions(topology, existing)
    found += _schemas(topology, address)
    try:
        async with nobody_runs(log, topology.workflow):
            pass
    except LogBusy as busy:
        found.append(Finding("running", "ok", busy.message))
    return found


def _topic(topic: TopicPlan, there: TopicInfo | None) -> Finding:
    what = f"topic {topic.name}"
    if there is None:
        return Finding(what, "ok", "not there yet; a run creates it")
    config = there.config
    if topic.kind != "source":
        other = [f"{k} is {config.get(k)!r}, planned {v!r}" for k, v in topic.config.items() if config.get(k) != v]
        if other:
            return Finding(what, "warning", ", ".join(other), "Change the topic or the plan.")
        return Finding(what, "ok", "settings as planned")
    for setting, unit in (("retention.ms", "ms"), ("retention.bytes", "bytes a partition")):
        limit = config.get(setting, "-1")
        if limit not in ("-1", ""):
            text = f"keeps no more than {limit} {unit}; a task that stands longer loses input"
            return Finding(what, "warning", text, f"Raise {setting} if that may happen.")
    if "compact" in config.get("cleanup.policy", ""):
        text = "is compacted: records that were replaced before a task read them are gone"
        return Finding(what, "warning", text, "Set cleanup.policy=delete if every record counts.")
    return Finding(what, "ok", "keeps its records")


def _partitions(topology: Topology, existing: Mapping[str, TopicInfo]) -> Iterator[Finding]:
    """Our own topics must have as many partitions as their stage has tasks: else a run would refuse to start."""
    from streamflow.runtime.topics import resolve_partitions, stage_width

    counts = resolve_partitions(topology, {name: info.partitions for name, info in existing.items()})
    for stage in topology.stages:
        width = stage_width(stage, counts)
        for name in (stage.ledger, stage.journal, *(s.changelog for s in stage.stores)):
            if name and counts[name] != width:
                text = f"{counts[name]} partitions, but stage {stage.id!r} has {width} tasks now"
                yield Finding(f"topic {name}", "wrong", text, "`streamflow reset` the workflow.")


def _schemas(topology: Topology, address: str) -> Iterator[Finding]:
    """What a run would register must be able to read what was registered before."""
    from streamflow.codecs.registry import RegistryUnavailable
    from streamflow.runtime.topics import written_schema

    registry = schema_registry(address, topology.registry, topology.base_folder)
    try:
        for topic in topology.topics:
            if topic.kind != "sink" or topic.codec.format != "avro":
                continue
            subject = f"{topic.name}-value"
            if not registry.is_compatible(subject, written_schema(topic)):
                text = "the new schema cannot read what was written by the one before"
                mend = "Give new fields a default, or `streamflow reset --outputs` the workflow."
                yield Finding(f"schema {subject}", "wrong", text, mend)
    except RegistryUnavailable as error:
        yield Finding("schema registry", "wrong", error.message, error.mend)
