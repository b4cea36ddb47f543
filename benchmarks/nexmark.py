"""How fast is each Nexmark query, exactly once, on the embedded log and on Apache Kafka?

The events lie on a topic of four partitions, as Avro. Each run is one process, `streamflow run --until-end`, on a fresh
log folder or with topics of its own; both logs in turn. Rates and CPU run from the first record read to the end of the
last commit, per event, whatever a query does with it. Every result is compared with DuckDB's. Medians of the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import nexmark_page
from confluent_kafka.admin import AdminClient
from harness import HERE, STREAMFLOW, Figures, processor
from nexmark_events import TOPIC

from streamflow.cli.common import compile_file
from streamflow.logs import open_log
from streamflow.testing.kafka_server import KafkaServer
from tests.golden.nexmark_answers import answers, published, queries
from tests.kafka.nexmark_source import from_topic

RESULTS = HERE / "results" / "nexmark.json"  # what the page in docs/benchmarks shows
LOGS = ("embedded", "kafka")


class Bench:
    """Filled logs, and a place for runs."""

    def __init__(self, server: KafkaServer, folder: Path, events: int) -> None:
        self.server, self.folder, self.events = server, folder, events
        self.file, self._filled, self._number = folder / "events.jsonl", folder / "filled", 0
        for log in (server.address, str(self._filled)):
            # A process of its own: the generator's memory must not count.
            subprocess.run([sys.executable, HERE / "nexmark_events.py", log, str(events), self.file], check=True)

    def run(self, query: str, log: str) -> Figures:
        """One run; raises if its result is not DuckDB's."""
        self._number += 1
        name = f"{query}-{self._number}"
        folder = self.folder / name
        workflow = from_topic(query, folder, name, TOPIC)
        address = self.server.address if log == "kafka" else str(shutil.copytree(self._filled, folder / "log"))
        command = [STREAMFLOW, "run", workflow, "--log", address, "--until-end", "--metrics", folder / "m.json"]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{query} on {log} ended with {done.returncode}: {done.stderr[-3_000:]}")
        told = orjson.loads((folder / "m.json").read_bytes())
        if said := answers(self.file).difference(query, asyncio.run(_result(workflow, name, address))):
            raise AssertionError(f"{query} on {log}: the results differ from DuckDB's: {said}")
        self._drop(name, folder)
        return {
            "records_per_s": self.events / told["active_seconds"],
            "cpu_us_per_record": told["cpu_seconds"] / self.events * 1e6,
            "cpu_us_per_record_run": told["cpu_seconds_active"] / self.events * 1e6,
            "memory_peak_mb": told["memory_peak_bytes"] / 1e6,
        }

    def _drop(self, name: str, folder: Path) -> None:
        shutil.rmtree(folder)
        admin = AdminClient({"bootstrap.servers": self.server.bootstrap})
        mine = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(f"{name}.")]
        for done in (admin.delete_topics(mine) if mine else {}).values():
            done.result(timeout=60)


async def _result(workflow: Path, name: str, address: str) -> pl.DataFrame:
    _, plan = compile_file(workflow)
    log = open_log(address)
    await log.open()
    try:
        return await published(plan, f"{name}.result", log)
    finally:
        await log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", "--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--query", nargs="+", choices=queries(), default=queries(), metavar="qN")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Bench(server, folder, args.events)
            for query in args.query:
                found[query] = _alternate(bench, query, args.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": processor()},
        "versions": {"polars": pl.__version__, "kafka": "4.3.1"},
        "guarantee": "exactly_once",
        "events": args.events,
        "queries": found,
    }
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    if args.out == RESULTS:
        nexmark_page.write(nexmark_page.files(report))


def _alternate(bench: Bench, query: str, runs: int) -> dict[str, object]:
    """Both logs in turn, `runs` times: medians and all figures."""
    figures: dict[str, list[Figures]] = {log: [] for log in LOGS}
    for number in range(runs):
        for log in LOGS:
            figures[log].append(bench.run(query, log))
            said = ", ".join(f"{name} {value:,.2f}" for name, value in figures[log][-1].items())
            print(f"  {query} run {number + 1} {log}: {said}", flush=True)
    medians = {log: {name: statistics.median(f[name] for f in fs) for name in fs[0]} for log, fs in figures.items()}
    return {"median": medians, "runs": figures}


if __name__ == "__main__":
    main()
