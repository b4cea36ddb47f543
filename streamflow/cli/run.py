"""`streamflow run`: run a workflow here, on the embedded log or on Kafka."""

from __future__ import annotations

import contextlib
import enum
import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    EnvironmentOption,
    FilesArgument,
    HeldBytesOption,
    HeldExecutionsOption,
    JsonOption,
    LogOption,
    StandbysOption,
    StateChoice,
    StateDirOption,
    StateOption,
    ThreadsOption,
    compile_file,
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.logs import configure
from streamflow.cli.output import counted, fail, note, print_json
from streamflow.cli.progress import ProgressLine
from streamflow.model.policies import HELD_BYTES_MAX, HELD_EXECUTIONS_MAX

if TYPE_CHECKING:
    from streamflow.topology.plan import Topology
    from streamflow.workers.progress import Progress, RunReport
    from streamflow.workers.scheduler import Limits
    from streamflow.workflow.model import WorkflowDocument


_CHILD_INTERVAL_S = 0.2  # how often a worker process tells the one that started it


_GUARANTEE_HELP = "Default: what the workflow says. at_least_once: outputs do not wait for commits, and may come twice."


class _Guarantee(enum.StrEnum):
    exactly_once = "exactly_once"
    at_least_once = "at_least_once"


def run(
    files: FilesArgument,
    *,
    log: LogOption = DEFAULT_LOG,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop when the inputs are read to their end.")] = False,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop after this many seconds.", min=0)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes on Kafka (1), else threads (one a core).",
            min=1,
            max=1024,
        ),
    ] = None,
    threads: ThreadsOption = None,
    held_bytes_max: HeldBytesOption = HELD_BYTES_MAX,
    held_executions_max: HeldExecutionsOption = HELD_EXECUTIONS_MAX,
    environment: EnvironmentOption = "",
    state: StateOption = None,
    state_dir: StateDirOption = None,
    standbys: StandbysOption = None,
    guarantee: Annotated[_Guarantee | None, typer.Option(help=_GUARANTEE_HELP)] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write figures to this JSON file each second and at the end.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a workflow, or several in one process, until they are stopped.

    Ctrl-C and SIGTERM end it gracefully: what was begun is committed, and the exit code is 0. A later run goes on from
    there. Progress is shown on stderr. If one of several workflows stops on an error, the others go on; the exit code
    is 1 then.
    """
    if duration is not None and not math.isfinite(duration):
        fail(f"--duration is a number of seconds, not {duration}.", code=2)
    limits = _limits(log, workers, threads, held_bytes_max, held_executions_max)
    configure()
    loaded = []
    for file in files:
        document, topology = compile_file(file, environment=environment)
        if guarantee is not None:
            topology = replace(topology, run=replace(topology.run, guarantee=guarantee.value))
        topology = with_standbys(with_state(topology, state, state_dir), standbys, log)
        loaded.append((file, document, topology))
    if len(files) > 1:
        from streamflow.cli.run_several import run_several

        run_several(
            loaded, log, limits, until_end=until_end, duration=duration, workers=workers, metrics=metrics,
            state_dir=state_dir, json=json,
        )  # fmt: skip
        return
    ((file, document, topology),) = loaded
    # Functions of the workflow may print; with --json, stdout belongs to the facts.
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        report = run_async(
            _run(
                document,
                topology,
                log,
                file=file,
                until_end=until_end,
                duration=duration,
                workers=workers,
                limits=limits,
                metrics=metrics,
                state_dir=state_dir,
            )
        )
    done, rate = report.progress, report.progress.rows_in / max(report.progress.seconds, 1e-9)
    if json:
        print_json(facts(done, report))
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
    file: Path,
    until_end: bool,
    duration: float | None,
    workers: int | None,
    limits: Limits,
    metrics: Path | None,
    state_dir: Path | None,
) -> RunReport:
    from streamflow.sdk.errors import StreamflowError

    show = Figures(metrics)
    try:
        if address.startswith("kafka://") and (workers or 1) > 1:
            report = await _run_processes(
                topology, address, file, until_end, duration, workers or 1, limits, show, state_dir
            )
        else:
            report = await run_here(document, topology, address, until_end, duration, limits, show, state_dir)
    except StreamflowError as error:  # such as a file that is not there, or a broker that does not answer
        fail(error.message, error=error.code, mend=error.mend)
    finally:
        show.end()
    show.write(facts(report.progress, report))
    return report


async def run_here(
    document: WorkflowDocument,
    topology: Topology,
    address: str,
    until_end: bool,
    duration: float | None,
    limits: Limits,
    show: Figures,
    state_dir: Path | None,
) -> RunReport:
    """In this process, which on Kafka may be one of several that run the workflow."""
    from streamflow.logs import EmbeddedLog
    from streamflow.nodes import registry
    from streamflow.workers.processes import reporter
    from streamflow.workers.worker import Worker

    async with writable_log(address) as log:
        tell = reporter()
        options: dict[str, Any] = {
            "nodes": registry(),
            "functions": document.functions,
            "registry": schema_registry(address, topology.registry, topology.base_folder),
            "limits": limits,
            "state_folder": str(state_dir or ""),
            "until_end": until_end,
            "on_progress": tell or show,
            "ends_itself": tell is None,
            "progress_interval_s": _CHILD_INTERVAL_S if tell else 1.0,
        }
        worker: Worker
        if isinstance(log, EmbeddedLog):
            from streamflow.workers.embedded import EmbeddedWorker

            worker = EmbeddedWorker(topology, log, **options)
            with log.lock(topology.workflow), stopped_by_signals(worker.stop, duration):
                return await worker.run()
        from streamflow.workers.kafka import kafka_worker

        worker = kafka_worker(topology, log, **options)
        with stopped_by_signals(worker.stop, duration):
            return await worker.run()


async def _run_processes(
    topology: Topology,
    address: str,
    file: Path,
    until_end: bool,
    duration: float | None,
    count: int,
    limits: Limits,
    show: Figures,
    state_dir: Path | None,
) -> RunReport:
    """In worker processes, each a `streamflow run` with one worker."""
    from streamflow.runtime.topics import ensure_topics, task_count
    from streamflow.workers.processes import Processes
    from streamflow.workers.progress import RunReport

    if topology.run.standbys and topology.run.state == "rocksdb":
        fail(
            f"{count} workers of one run keep state in one folder, and standbys need one for each worker.",
            mend="Start `streamflow worker` so often, each with a --state-dir of its own; or set standbys to 0.",
            code=2,
        )
    async with writable_log(address) as log:
        tasks = task_count(topology, await ensure_topics(topology, log))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", str(file), "--log", address, "--workers", "1"]
    command += ["--guarantee", topology.run.guarantee, *(["--until-end"] if until_end else [])]
    command += ["--standbys", str(topology.run.standbys)]
    command += ["--held-bytes-max", str(limits.held_bytes_max)]
    command += ["--held-executions-max", str(limits.held_executions_max)]
    command += ["--threads", str(limits.threads)] if limits.threads is not None else []
    from streamflow.sdk.expression import META_VARS

    told = topology.vars.get(META_VARS)
    if isinstance(told, dict) and (environment := told.get("environment")):
        command += ["--env", str(environment)]
    command += ["--state", topology.run.state, *(["--state-dir", str(state_dir)] if state_dir else [])]
    processes = Processes(command, count, tasks=tasks if until_end else None, on_progress=show)
    with stopped_by_signals(processes.stop, duration):
        return RunReport(progress=await processes.run())


def _limits(address: str, workers: int | None, threads: int | None, held_bytes: int, held_executions: int) -> Limits:
    """What a process may use; leaves with 2 where options contradict each other."""
    from streamflow.workers.scheduler import Limits

    if not address.startswith("kafka://") and workers is not None:
        if threads is not None and threads != workers:
            fail(
                f"--workers {workers} and --threads {threads}: on the embedded log both are the threads that compute.",
                mend="Leave one of them out.",
                code=2,
            )
        threads = workers
    return Limits(threads=threads, held_bytes_max=held_bytes, held_executions_max=held_executions)


def with_standbys(topology: Topology, standbys: int | None, address: str) -> Topology:
    """The topology with what `--standbys` says; leaves with 2 where there are no other workers."""
    if standbys and not address.startswith("kafka://"):
        fail(
            "--standbys are other workers, and on the embedded log there is one process.",
            mend="Leave it out, or give --log kafka://HOST:PORT.",
            code=2,
        )
    return topology if standbys is None else replace(topology, run=replace(topology.run, standbys=standbys))


def with_state(topology: Topology, state: StateChoice | None, state_dir: Path | None) -> Topology:
    """The topology with what `--state` says; leaves with 2 where a folder is given for nothing."""
    if state is not None:
        topology = replace(topology, run=replace(topology.run, state=state.value))
    if state_dir is not None and topology.run.state == "memory":
        fail(
            "--state-dir is where state is kept on disk, and it is kept in memory.", mend="Add --state rocksdb.", code=2
        )
    return topology


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None], duration: float | None = None) -> Iterator[None]:
    """SIGTERM, SIGINT and the end of `duration` (seconds) ask for a graceful end. On the event loop."""
    import asyncio

    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        # Asked again, the signal does what it does by default: even a task that hangs can be ended.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, asked, number)
    timer = loop.call_later(duration, stop) if duration is not None else None
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)


class Figures:
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
        self.write(facts(progress, None))
        restoring = f"  restoring state: {progress.restoring:,} records left" if progress.restoring else ""
        standbys = f"  standbys {progress.standbys}, {progress.standby_lag:,} behind" if progress.standbys else ""
        self._line.show(
            f"{progress.seconds:6.1f} s  {progress.rows_in:>13,} in  {progress.rows_out:>13,} out  "
            f"{rate:>11,.0f} records/s  lag {progress.lag:,}  dead letters {progress.dead:,}{restoring}{standbys}"
        )

    def line(self, text: str) -> None:
        """Show another text, if it is time."""
        self._line.show(text)

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


def facts(progress: Progress, report: RunReport | None) -> dict[str, object]:
    """What the metrics file and --json say."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]  # ended workers, too
    return {
        "state": "running" if report is None else "halted" if report.halted else "ended",
        "halted": str(report.halted) if report is not None and report.halted else None,
        "seconds": round(progress.seconds, 3),
        "records_in": progress.rows_in,
        "records_out": progress.rows_out,
        "dead_letters": progress.dead,
        "commits": progress.commits,
        "lag": progress.lag,
        "restoring": progress.restoring,
        "restored": progress.restored,
        "standbys": progress.standbys,
        "standby_lag": progress.standby_lag,
        "records_per_s": round(progress.rows_in / max(progress.seconds, 1e-9), 1),
        # From the first record taken to the end of the last commit, without start and end of the process.
        "active_seconds": round(progress.last_s - progress.first_s, 4),
        "cpu_seconds_active": round(progress.cpu_s, 3),
        "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 3),
        "memory_peak_bytes": _memory_peak_bytes(),
        "stages": progress.stages,
        "steps": progress.steps,
        "spent_seconds": progress.spent_s,
        "scheduler": progress.scheduler,
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
