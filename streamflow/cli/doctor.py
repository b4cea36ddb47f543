"""`streamflow doctor`: is this machine, this log and (if given) this workflow's ground sound?"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    JsonOption,
    LogOption,
    compile_file,
    open_log_at,
    print_json,
    run_async,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""


def doctor(
    file: Annotated[Path | None, typer.Argument(help="A workflow whose topics to look at as well.")] = None,
    log: LogOption = DEFAULT_LOG,
    json: JsonOption = False,
) -> None:
    """Look at the machine, the log, and the topics of a workflow. Exit 1 if something is wrong."""
    findings = _machine()
    findings += run_async(_log(log, file))
    if json:
        print_json([{"what": f.what, "state": f.state, "found": f.found, "mend": f.mend} for f in findings])
    else:
        for f in findings:
            print(f"{f.state:<8} {f.what}: {f.found}{'. ' + f.mend if f.mend else ''}")
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(1)


def _machine() -> list[Finding]:
    import polars as pl

    found = [
        Finding("Python", "ok", platform.python_version()),
        Finding("polars", "ok", f"{pl.__version__}, {pl.thread_pool_size()} threads, {os.cpu_count()} cores"),
    ]
    java = shutil.which("java")
    if java is None:
        found.append(Finding("Java", "warning", "none", "Only `streamflow dev kafka` needs it: install 17 or newer."))
    else:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
        found.append(Finding("Java", "ok", (told.stderr or told.stdout).split("\n")[0]))
    return found


async def _log(address: str, file: Path | None) -> list[Finding]:
    from streamflow.model.positions import TopicPartition

    found: list[Finding] = []
    if not address.startswith("kafka://"):
        folder = Path(address)
        free = shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free
        low = free < 1 << 30
        found.append(
            Finding("disk", "warning" if low else "ok", f"{free / (1 << 30):.1f} GiB free", "Make room." if low else "")
        )
        if not folder.exists():
            found.append(Finding("log", "ok", f"{address} does not exist yet; the first run makes it"))
            return found
    log = open_log_at(address)
    await log.open()
    try:
        topics = await log.topics()
        records = 0
        for name, info in topics.items():
            for p in range(info.partitions):
                at = TopicPartition(name, p)
                start, end = await log.offsets(at)
                records += end - start
                if end > start:
                    await log.read(at, end - 1, size_bytes_max=1)  # the last batch must open: CRC and all
        found.append(Finding("log", "ok", f"{address}: {len(topics)} topics, {records:,} records, last batches sound"))
        if file is not None:
            found += _topics(file, {n: dict(t.config) for n, t in topics.items()})
    finally:
        await log.close()
    return found


def _topics(file: Path, existing: dict[str, dict[str, str]]) -> list[Finding]:
    _, topology = compile_file(file)
    found = []
    for topic in topology.topics:
        have = existing.get(topic.name)
        if have is None:
            found.append(Finding(f"topic {topic.name}", "ok", "not there yet; a run creates it"))
            continue
        wrong = {k: (have.get(k), v) for k, v in topic.config.items() if topic.kind != "source" and have.get(k) != v}
        retention = have.get("retention.ms", "-1")
        if wrong:
            text = ", ".join(f"{k} is {a!r}, planned {b!r}" for k, (a, b) in wrong.items())
            found.append(Finding(f"topic {topic.name}", "warning", text, "Change the topic or the plan."))
        elif topic.kind == "source" and retention not in ("-1", ""):
            text = f"keeps records for {int(retention) / 3_600_000:.1f} h; a task stopped for longer loses input"
            found.append(Finding(f"topic {topic.name}", "warning", text, "Raise retention.ms if that may happen."))
        else:
            found.append(Finding(f"topic {topic.name}", "ok", "settings as planned"))
    return found
