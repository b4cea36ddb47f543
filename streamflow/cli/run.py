"""`streamflow run`: run a workflow here, on the embedded log."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    schema_registry,
    use_color,
)

if TYPE_CHECKING:
    from streamflow.model.policies import Guarantee
    from streamflow.topology.plan import Topology
    from streamflow.workers.embedded import Progress, RunReport
    from streamflow.workflow.model import WorkflowDocument


def run(
    file: FileArgument,
    log: LogOption = DEFAULT_LOG,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop when the inputs are read to their end.")] = False,
    duration: Annotated[float | None, typer.Option(help="Stop after this many seconds.", min=0)] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that compute; default: one per core.", min=1)] = None,
    guarantee: Annotated[
        str | None, typer.Option(help="exactly_once or at_least_once; default: the workflow's.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="Write figures to this JSON file each second and at the end.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a workflow until it is stopped (Ctrl-C or SIGTERM end it gracefully), or to the end of its inputs."""
    if guarantee not in (None, "exactly_once", "at_least_once"):
        fail(f"--guarantee is exactly_once or at_least_once, not {guarantee!r}.", code=2)
    document, topology = compile_file(file)
    if guarantee:
        named: Guarantee = "exactly_once" if guarantee == "exactly_once" else "at_least_once"
        topology = replace(topology, run=replace(topology.run, guarantee=named))
    report = run_async(_run(document, topology, log, until_end, duration, workers, metrics, json))
    if json:
        print_json(_facts(report.progress) | {"halted": str(report.halted) if report.halted else None})
    if report.halted is not None:
        fail(str(report.halted))


async def _run(
    document: WorkflowDocument,
    topology: Topology,
    address: str,
    until_end: bool,
    duration: float | None,
    workers: int | None,
    metrics: Path | None,
    quiet: bool,
) -> RunReport:
    from streamflow.logs.embedded import EmbeddedLog
    from streamflow.nodes import registry
    from streamflow.workers.embedded import EmbeddedWorker

    log = open_log_at(address)
    show = _Progress(metrics, quiet=quiet)
    await log.open()
    try:
        worker = EmbeddedWorker(
            topology, log, nodes=registry(), functions=document.functions,
            registry=schema_registry(address, topology.registry), threads=workers, until_end=until_end, on_progress=show,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        if duration is not None:
            loop.call_later(duration, worker.stop)
        assert isinstance(log, EmbeddedLog), "other logs are run by `streamflow worker`"
        with log.lock(topology.workflow):
            report = await worker.run()
        show.end(report.progress)
        return report
    finally:
        await log.close()


class _Progress:
    """Prints a line a second: rewritten in place on a terminal, plain otherwise; and the metrics file."""

    def __init__(self, metrics: Path | None, *, quiet: bool) -> None:
        self._metrics, self._quiet, self._last = metrics, quiet, (time.monotonic(), 0)
        self._tty = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        rate = (progress.rows_in - self._last[1]) / max(now - self._last[0], 1e-9)
        self._last = (now, progress.rows_in)
        self._write(progress)
        if not self._quiet:
            line = (
                f"{progress.seconds:6.1f} s  {progress.rows_in:>13,} in  {progress.rows_out:>13,} out  "
                f"{rate:>11,.0f} records/s  lag {progress.lag:,}  dead letters {progress.dead:,}"
            )
            print(f"\r{line}" if self._tty else line, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def end(self, progress: Progress) -> None:
        self._write(progress)
        if not self._quiet:
            rate = progress.rows_in / max(progress.seconds, 1e-9)
            start = "\r\033[K" if self._tty and use_color() else ("\r" if self._tty else "")
            print(
                f"{start}{progress.rows_in:,} records in, {progress.rows_out:,} out, {progress.dead:,} dead letters, "
                f"{progress.seconds:.2f} s, {rate:,.0f} records/s, {progress.commits:,} commits"
            )

    def _write(self, progress: Progress) -> None:
        if self._metrics is not None:
            import orjson

            temporary = self._metrics.with_name(self._metrics.name + ".new")
            temporary.write_bytes(orjson.dumps(_facts(progress), option=orjson.OPT_INDENT_2))
            temporary.replace(self._metrics)


def _facts(progress: Progress) -> dict[str, object]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime
    return {
        "seconds": round(progress.seconds, 3),
        "records_in": progress.rows_in,
        "records_out": progress.rows_out,
        "dead_letters": progress.dead,
        "commits": progress.commits,
        "lag": progress.lag,
        "records_per_s": round(progress.rows_in / max(progress.seconds, 1e-9), 1),
        "cpu_seconds": round(cpu_s, 3),
        "memory_peak_bytes": usage.ru_maxrss * 1024,
        "stages": progress.stages,
    }
