"""`streamflow worker`: a long-lived worker on Kafka, under Faust; several share the partitions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import (
    EnvironmentOption,
    FilesArgument,
    HeldBytesOption,
    HeldExecutionsOption,
    LogOption,
    StandbysOption,
    StateDirOption,
    StateOption,
    ThreadsOption,
    compile_file,
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.logs import configure
from streamflow.cli.output import fail, note
from streamflow.cli.run import Figures, facts, stopped_by_signals, with_standbys, with_state
from streamflow.model.policies import HELD_BYTES_MAX, HELD_EXECUTIONS_MAX

if TYPE_CHECKING:
    from streamflow.topology.plan import Topology
    from streamflow.workers.progress import RunReport
    from streamflow.workers.scheduler import Limits
    from streamflow.workflow.model import WorkflowDocument


def worker(
    files: FilesArgument,
    *,
    log: LogOption = "kafka://127.0.0.1:9092",
    threads: ThreadsOption = None,
    held_bytes_max: HeldBytesOption = HELD_BYTES_MAX,
    held_executions_max: HeldExecutionsOption = HELD_EXECUTIONS_MAX,
    session_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Silent for so long, its tasks go to other workers.", min=1)
    ] = 10.0,
    environment: EnvironmentOption = "",
    state: StateOption = None,
    state_dir: StateDirOption = None,
    standbys: StandbysOption = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write figures to this JSON file each second and at the end.")
    ] = None,
) -> None:
    """Run a workflow on Kafka until it is stopped, together with as many other workers as there are.

    SIGTERM and Ctrl-C end it gracefully: what was begun is committed, its tasks go to the others, the exit code is 0.
    """
    if len(files) > 1:
        named = " ".join(str(file) for file in files)
        fail(
            f"a worker under Faust runs one workflow, and {len(files)} are named.",
            mend=f"`streamflow run {named} --log {log}` runs them in one process, and shares them with others like it.",
            code=2,
        )
    file = files[0]
    configure()
    document, topology = compile_file(file, environment=environment)
    if not log.startswith("kafka://"):
        fail(f"a worker runs on Kafka; {log!r} is a folder.", mend="Use `streamflow run` for the embedded log.", code=2)
    topology = with_standbys(with_state(topology, state, state_dir), standbys, log)
    from streamflow.workers.scheduler import Limits

    limits = Limits(threads=threads, held_bytes_max=held_bytes_max, held_executions_max=held_executions_max)
    report = run_async(_work(document, topology, log, limits, session_timeout, metrics, state_dir))
    if report is not None and report.halted is not None:
        fail(report.halted.message, error=report.halted.code, mend=report.halted.mend)


async def _work(
    document: WorkflowDocument,
    topology: Topology,
    address: str,
    limits: Limits,
    session_timeout_s: float,
    metrics: Path | None,
    state_dir: Path | None,
) -> RunReport | None:
    import asyncio

    from streamflow.workers.faust import app

    async with writable_log(address):  # who is not let in is told why; Faust would not say
        pass
    show = Figures(metrics)
    host = app(
        topology,
        address,
        functions=document.functions,
        registry=schema_registry(address, topology.registry, topology.base_folder),
        limits=limits,
        state_folder=str(state_dir or ""),
        session_timeout_ms=round(session_timeout_s * 1000),
        on_progress=show,
    )
    stop = asyncio.Event()
    with stopped_by_signals(stop.set):
        starting = asyncio.ensure_future(host.start())
        over = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(host.tasks.over.wait())]
        # Faust's part of the start may take long, and there is no reason to wait for it before an end.
        await asyncio.wait([*over, starting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            note(f"worker of {topology.workflow} on {address}")
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        for waiting in over:
            waiting.cancel()
        await host.stop()
        await asyncio.gather(starting, return_exceptions=True)
        show.end()
        report = await host.tasks.ended()
    show.write(facts(report.progress, report))
    return report
