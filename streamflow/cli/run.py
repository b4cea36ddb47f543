"""`streamflow run`: run a workflow here, on the embedded log."""

from __future__ import annotations

import contextlib
import enum
import math
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
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.output import counted, fail, note, print_json
from streamflow.cli.progress import ProgressLine

if TYPE_CHECKING:
    from streamflow.topology.plan import Topology
    from streamflow.workers.embedded import Progress, RunReport
    from streamflow.workflow.model import WorkflowDocument


class _Guarantee(enum.StrEnum):
    exactly_once = "exactly_once"
    at_least_once = "at_least_once"


def run(
    file: FileArgument,
    *,
    log: LogOption = DEFAULT_LOG,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop when the inputs are read to their end.")] = False,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop after this many seconds.", min=0)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Threads that compute; default: one per core.", min=1, max=1024)
    ] = None,
    guarantee: Annotated[_Guarantee | None, typer.Option(help="Default: what the workflow says.")] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write figures to this JSON file each second and at the end.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a workflow until it is stopped.

    Ctrl-C and SIGTERM end it gracefully: what was begun is committed, and the exit code is 0. A later run goes on from
    there. Progress is shown on stderr.
    """
    if duration is not None and not math.isfinite(duration):
        fail(f"--duration is a number of seconds, not {duration}.", code=2)
    document, topology = compile_file(file)
    if guarantee is not None:
        topology = replace(topology, run=replace(topology.run, guarantee=guarantee.value))
    # Functions of the workflow may print; with --json, stdout belongs to the facts.
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        report = run_async(
            _run(document, topology, log, until_end=until_end, duration=duration, workers=workers, metrics=metrics)
        )
    done, rate = report.progress, report.progress.rows_in / max(report.progress.seconds, 1e-9)
    if json:
        print_json(_facts(done, report))
    else:
        print(
            f"{counted(done.rows_in, 'record')} in, {done.rows_out:,} out, {counted(done.dead, 'dead letter')}, "
            f"{done.seconds:.2f} s, {rate:,.0f} records/s, {counted(done.commits, 'commit')}"
        )
    if report.halted is not None:
        fail(report.halted.message, error=report.halted.code, mend=report.halted.mend)


async def _run(
    document: WorkflowDocument,
    topology: Topology,
    address: str,
    *,
    until_end: bool,
    duration: float | None,
    workers: int | None,
    metrics: Path | None,
) -> RunReport:
    import asyncio

    from streamflow.logs.embedded import EmbeddedLog
    from streamflow.nodes import registry
    from streamflow.sdk.errors import UsageError
    from streamflow.workers.embedded import EmbeddedWorker

    loop = asyncio.get_running_loop()
    show = _Progress(metrics)
    async with writable_log(address) as log:
        assert isinstance(log, EmbeddedLog)  # the only kind that `open_log` gives so far
        schemas = schema_registry(address, topology.registry, topology.base_folder)
        worker = EmbeddedWorker(
            topology, log, nodes=registry(), functions=document.functions, registry=schemas, threads=workers,
            until_end=until_end, on_progress=show,
        )  # fmt: skip

        def stop(number: signal.Signals) -> None:
            # Asked again, the signal does what it does by default: even a task that hangs can be ended.
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            worker.stop()

        with log.lock(topology.workflow):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop, number)
            if duration is not None:
                loop.call_later(duration, worker.stop)
            try:
                report = await worker.run()
            except UsageError as error:  # the workflow asks for what cannot be, such as a file that is not there
                fail(error.message, error=error.code, mend=error.mend)
            finally:
                show.end()
    show.write(_facts(report.progress, report))
    return report


class _Progress:
    """Shows progress on stderr and keeps the metrics file up to date."""

    def __init__(self, metrics: Path | None) -> None:
        self._metrics, self._line, self._last = metrics, ProgressLine(), (time.monotonic(), 0)
        self._told = False
        if metrics is not None:
            try:
                metrics.open("a").close()
            except OSError as error:
                fail(f"--metrics {str(metrics)!r} cannot be written: {error.strerror}.", code=2)

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        rate = (progress.rows_in - self._last[1]) / max(now - self._last[0], 1e-9)
        self._last = (now, progress.rows_in)
        self.write(_facts(progress, None))
        self._line.show(
            f"{progress.seconds:6.1f} s  {progress.rows_in:>13,} in  {progress.rows_out:>13,} out  "
            f"{rate:>11,.0f} records/s  lag {progress.lag:,}  dead letters {progress.dead:,}"
        )

    def end(self) -> None:
        self._line.clear()

    def write(self, facts: dict[str, object]) -> None:
        """Replace the metrics file whole: a reader never sees half of it."""
        if self._metrics is None:
            return
        import orjson

        temporary = self._metrics.with_name(self._metrics.name + ".new")
        try:
            temporary.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            temporary.replace(self._metrics)
        except OSError as error:  # figures are no reason to stop a stream
            if not self._told:
                note(f"--metrics {str(self._metrics)!r} is not written any more: {error.strerror}.")
            self._told = True


def _facts(progress: Progress, report: RunReport | None) -> dict[str, object]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "state": "running" if report is None else "halted" if report.halted else "ended",
        "halted": str(report.halted) if report is not None and report.halted else None,
        "seconds": round(progress.seconds, 3),
        "records_in": progress.rows_in,
        "records_out": progress.rows_out,
        "dead_letters": progress.dead,
        "commits": progress.commits,
        "lag": progress.lag,
        "records_per_s": round(progress.rows_in / max(progress.seconds, 1e-9), 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "memory_peak_bytes": _memory_peak_bytes(),
        "stages": progress.stages,
    }


def _memory_peak_bytes() -> int:
    """The most memory that this process had resident. Linux counts a parent's peak into `ru_maxrss` of what it
    starts.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
