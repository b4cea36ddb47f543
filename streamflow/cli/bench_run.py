"""What `streamflow bench` does: topics of its own, a process that is measured, and figures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from streamflow import __version__
from streamflow.bench.feed import Feed, Recipe, items_of
from streamflow.bench.measure import WARM_S, Arrivals, fill, percentiles, send_steadily, settled, watch
from streamflow.bench.report import VERSION
from streamflow.bench.target import Target, target
from streamflow.cli.common import writable_log
from streamflow.cli.output import fail, note
from streamflow.codecs.registry import FileRegistry
from streamflow.runtime.topics import ensure_topics
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log, TopicSpec
from streamflow.workflow.model import WorkflowDocument

_BEGIN_S, _END_S = 60.0, 30.0  # for a process to begin, and to end when it is told to


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be measured, and how. `lines`: items as JSON; None makes them."""

    file: Path
    document: WorkflowDocument
    address: str
    records: int
    recipe: Recipe
    lines: Sequence[bytes] | None
    partitions: int
    rate: int
    seconds: float
    threads: int | None
    environment: str
    guarantee: str


async def measured(asked: Asked, folder: Path) -> dict[str, Any]:
    """The result, as `--json` prints it. Everything that is not on the log asked for is in `folder`."""
    address = asked.address or str(folder / "log")
    prefix = f"bench-{secrets.token_hex(4)}-" if asked.address else ""
    found = target(asked.document, prefix)
    if asked.lines is not None and len(found.sources) > 1:
        raise UsageError(
            f"--data is for one topic, and this workflow reads {', '.join(t.name for t in found.sources)}.",
            mend="Leave it out: items are made from the schemas.",
        )
    async with writable_log(address) as log, _topics(log, found, asked, delete=bool(asked.address)) as widths:
        registry = FileRegistry(folder / "schemas")
        items = None if asked.lines is None else items_of(asked.lines, found.sources[0])
        feeds = [
            Feed(source, asked.partitions, asked.recipe, registry, items, time=found.time_of(source.name))
            for source in found.sources
        ]
        note(f"sending {asked.records:,} records")
        size = await fill(log, feeds, asked.records)
        process = _Process(asked, folder, address, prefix)
        note("running them to their end")
        facts = await process.run()
        late: dict[str, Any] = {}
        if asked.seconds and not all(feed.gives_time for feed in feeds):
            note("latency is not measured: the event time of a trigger is no field that is a timestamp or a long")
        elif asked.seconds and found.sinks:
            note(f"{asked.rate:,} records a second for {asked.seconds + WARM_S:g} s")
            late = await _latency(log, feeds, {t.name: widths[t.name] for t in found.sinks}, asked, process)
    active_s = max(facts["active_seconds"], 1e-9)
    return {
        "bench": VERSION,
        "workflow": asked.document.name,
        "log": "kafka" if address.startswith("kafka://") else "embedded",
        "topics": [t.name.removeprefix(prefix) for t in found.sources],
        "records": asked.records,
        "seed": asked.recipe.seed,
        "skew": asked.recipe.skew,
        "partitions": asked.partitions,
        "guarantee": asked.guarantee,
        "throughput": {
            "records_per_s": round(asked.records / active_s, 1),
            "mb_per_s": round(size / active_s / 1e6, 2),
            "cpu_us_per_record": round(facts["cpu_seconds_active"] / asked.records * 1e6, 3),
            "memory_peak_mb": round(facts["memory_peak_bytes"] / 1e6, 1),
            "seconds": facts["active_seconds"],
            "records_out": facts["records_out"],
            "dead_letters": facts["dead_letters"],
            "commits": facts["commits"],
            "steps": facts["steps"],
            "spent_seconds": facts["spent_seconds"],
        },
        "latency": late,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {"streamflow": __version__, "polars": pl.__version__},
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


@contextlib.asynccontextmanager
async def _topics(log: Log, found: Target, asked: Asked, *, delete: bool) -> AsyncIterator[Mapping[str, int]]:
    """The topics of the workflow, by their numbers of partitions; gone afterwards, where the log stays."""
    try:
        for topic in found.sources:
            await log.create_topic(
                TopicSpec(name=topic.name, partitions=asked.partitions, config={"retention.ms": "-1"})
            )
        made = await ensure_topics(found.topology, log)
        yield {name: info.partitions for name, info in made.items()}
    finally:
        if delete:
            existing = await log.topics()
            for topic in found.topology.topics:
                if topic.name in existing:
                    await log.delete_topic(topic.name)


async def _latency(
    log: Log, feeds: Sequence[Feed], sinks: Mapping[str, int], asked: Asked, process: _Process
) -> dict[str, Any]:
    arrivals = Arrivals()
    watching = asyncio.create_task(watch(log, sinks, arrivals))
    try:
        async with process.running():
            since_ms = (time.time() + WARM_S) * 1_000
            behind_ms = await send_steadily(log, feeds, asked.rate, WARM_S + asked.seconds)
            await settled(arrivals)
        if watching.done():
            watching.result()  # it ends by an error only
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    values: np.ndarray = arrivals.latencies(since_ms)
    return {"rate": asked.rate, "records": len(values), "sender_behind_ms": round(behind_ms, 1), **percentiles(values)}


class _Process:
    """The process that is measured."""

    def __init__(self, asked: Asked, folder: Path, address: str, prefix: str) -> None:
        self._metrics, self._said = folder / "metrics.json", folder / "said.txt"
        self._request = {
            "file": str(asked.file), "environment": asked.environment, "address": address, "prefix": prefix,
            "registry": str(folder / "schemas"), "metrics": str(self._metrics), "threads": asked.threads,
            "state_dir": str(folder / "state"), "guarantee": asked.guarantee,
        }  # fmt: skip

    async def run(self) -> dict[str, Any]:
        """To the end of the inputs; what its metrics say."""
        process = await self._start(until_end=True)
        if await process.wait():
            self._failed()
        found: dict[str, Any] = orjson.loads(self._metrics.read_bytes())
        return found

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While it runs; it has begun when this begins."""
        self._metrics.unlink(missing_ok=True)
        process = await self._start(until_end=False)
        try:
            until_s = time.monotonic() + _BEGIN_S
            while not (self._metrics.exists() and self._metrics.stat().st_size):
                if process.returncode is not None or time.monotonic() > until_s:
                    self._failed()
                await asyncio.sleep(0.05)
            yield
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), _END_S)
                except TimeoutError:
                    process.kill()

    async def _start(self, *, until_end: bool) -> asyncio.subprocess.Process:
        request = orjson.dumps(self._request | {"until_end": until_end}).decode()
        with self._said.open("wb") as said:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streamflow.cli.bench_worker", request, stdout=said, stderr=said
            )

    def _failed(self) -> None:
        said = self._said.read_text(errors="replace").strip().splitlines()
        fail(
            "the workflow did not run: " + " ".join(said[-3:]),
            mend="`streamflow check` it, or run it on a log of its own: `streamflow run FILE --log FOLDER`.",
        )
