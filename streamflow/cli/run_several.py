"""`streamflow run A B …`: several workflows in one process. They share its threads, its budget and its log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamflow.cli.common import run_async, schema_registry, writable_log
from streamflow.cli.output import counted, fail, print_json
from streamflow.cli.run import Figures, facts, stopped_by_signals

if TYPE_CHECKING:
    from streamflow.sdk.log import Log
    from streamflow.topology.plan import Topology
    from streamflow.workers.scheduler import Limits, Scheduler
    from streamflow.workers.together import Outcome, Standing
    from streamflow.workers.worker import Worker
    from streamflow.workflow.model import WorkflowDocument

Loaded = Sequence[tuple[Path, "WorkflowDocument", "Topology"]]
_OF_THE_PROCESS = ("cpu_seconds_active", "cpu_seconds", "memory_peak_bytes")


def run_several(
    loaded: Loaded,
    address: str,
    limits: Limits,
    *,
    until_end: bool,
    duration: float | None,
    workers: int | None,
    metrics: Path | None,
    state_dir: Path | None,
    json: bool,
) -> None:
    """Run them, say how each ended, and leave with 1 if one did on an error."""
    check_names(loaded)
    if address.startswith("kafka://") and (workers or 1) > 1:
        fail(
            f"--workers {workers} starts processes for one workflow, and {len(loaded)} are named.",
            mend="Start this command so often, without --workers: the processes share the partitions.",
            code=2,
        )
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        ended = run_async(_run(loaded, address, limits, until_end, duration, metrics, state_dir))
    if json:
        print_json(facts_of(ended, over=True))
    else:
        for name, outcome in ended.workflows.items():
            print(_told(name, outcome))
    if any(_error(outcome) is not None for outcome in ended.workflows.values()):
        raise typer.Exit(1)  # each was told of when it happened


def check_names(loaded: Loaded) -> None:
    """Leaves with 2 if two files hold the same workflow: they would take each other's tasks."""
    seen: dict[str, Path] = {}
    for file, _, topology in loaded:
        name = topology.workflow
        if name in seen:
            fail(
                f"{str(seen[name])!r} and {str(file)!r} are both workflow {name!r}.",
                mend="Name each file once, and each workflow differently.",
                code=2,
            )
        seen[name] = file


async def _run(
    loaded: Loaded,
    address: str,
    limits: Limits,
    until_end: bool,
    duration: float | None,
    metrics: Path | None,
    state_dir: Path | None,
) -> Standing:
    from streamflow.logs import EmbeddedLog
    from streamflow.sdk.errors import StreamflowError
    from streamflow.workers.scheduler import Scheduler
    from streamflow.workers.together import Together

    show = Figures(metrics)
    try:
        async with writable_log(address) as log:
            with contextlib.ExitStack() as held:
                locks = {topology.workflow: held.enter_context(contextlib.ExitStack()) for _, _, topology in loaded}
                for name, lock in locks.items():
                    if isinstance(log, EmbeddedLog):
                        lock.enter_context(log.lock(name))
                scheduler = held.enter_context(Scheduler(limits))
                workers = {
                    topology.workflow: _worker(document, topology, log, address, scheduler, until_end, state_dir)
                    for _, document, topology in loaded
                }

                def one_ended(name: str, outcome: Outcome) -> None:
                    locks[name].close()  # it may be run or reset elsewhere, while others run on here
                    if (error := _error(outcome)) is not None:
                        show.end()
                        print(f"error: {name}: {_text(error)}", file=sys.stderr, flush=True)
                        show.write(facts_of(together.standing(), over=False))

                together = Together(
                    workers, scheduler, until_end=until_end, on_progress=lambda standing: _show(show, standing),
                    on_ended=one_ended,
                )  # fmt: skip
                held.enter_context(stopped_by_signals(together.stop, duration))
                try:
                    ended = await together.run()
                finally:
                    show.write(facts_of(together.standing(), over=True))
    except StreamflowError as error:  # such as a workflow that runs elsewhere, or a broker that does not answer
        fail(error.message, error=error.code, mend=error.mend)
    finally:
        show.end()
    return ended


def _worker(
    document: WorkflowDocument,
    topology: Topology,
    log: Log,
    address: str,
    scheduler: Scheduler,
    until_end: bool,
    state_dir: Path | None,
) -> Worker:
    from streamflow.logs import EmbeddedLog
    from streamflow.nodes import registry

    options: dict[str, Any] = {
        "nodes": registry(),
        "functions": document.functions,
        "registry": schema_registry(address, topology.registry, topology.base_folder),
        "scheduler": scheduler,
        "state_folder": str(state_dir or ""),
        "until_end": until_end,
        "ends_itself": False,
    }
    if isinstance(log, EmbeddedLog):
        from streamflow.workers.embedded import EmbeddedWorker

        return EmbeddedWorker(topology, log, **options)
    from streamflow.workers.kafka import kafka_worker

    return kafka_worker(topology, log, **options)


def facts_of(standing: Standing, *, over: bool) -> dict[str, object]:
    """What the metrics file and --json say: figures of each workflow, and those of the process."""
    from streamflow.workers.progress import summed

    process = facts(summed(outcome.progress for outcome in standing.workflows.values()), None)
    failed = any(_error(outcome) is not None for outcome in standing.workflows.values())
    return {
        "state": "running" if not over else "halted" if failed else "ended",
        "seconds": round(standing.seconds, 3),
        "workflows": {name: _facts(outcome) for name, outcome in standing.workflows.items()},
        "scheduler": dict(standing.scheduler),
        **{key: process[key] for key in _OF_THE_PROCESS if key != "cpu_seconds_active"},
    }


def _facts(outcome: Outcome) -> dict[str, object]:
    told = {k: v for k, v in facts(outcome.progress, outcome.report).items() if k not in _OF_THE_PROCESS}
    if outcome.error is not None:
        told |= {"state": "halted", "halted": _text(outcome.error)}
    return told


def _error(outcome: Outcome) -> Exception | None:
    return outcome.error or (outcome.report.halted if outcome.report is not None else None)


def _text(error: Exception) -> str:
    from streamflow.sdk.errors import StreamflowError

    return str(error) if isinstance(error, StreamflowError) else f"{type(error).__name__}: {error}"


def _told(name: str, outcome: Outcome) -> str:
    done = outcome.progress
    rate = done.rows_in / max(done.seconds, 1e-9)
    return (
        f"{name}: {counted(done.rows_in, 'record')} in, {done.rows_out:,} out, {counted(done.dead, 'dead letter')}, "
        f"{done.seconds:.2f} s, {rate:,.0f} records/s, {counted(done.commits, 'commit')}"
    )


def _show(show: Figures, standing: Standing) -> None:
    show.write(facts_of(standing, over=False))
    parts = [
        f"{name} {o.progress.rows_in:,} in {o.progress.rows_out:,} out lag {o.progress.lag:,}"
        + (f" dead letters {o.progress.dead:,}" if o.progress.dead else "")
        + (" stopped" if _error(o) is not None else "")
        for name, o in standing.workflows.items()
    ]
    show.line(f"{standing.seconds:6.1f} s  " + "  |  ".join(parts))
