"""What questions share: a broker with its topics, runs of ours and of peers, cells in turn, and what a result is.

A question is a file with a `main` that writes benchmarks/results/NAME.json. Its cells run in turn, so that what the
machine does besides meets all of them. Every run has topics of its own; outputs are compared with a polars computation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka.admin
import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import expected
import peer
from peer import Peer

from streamflow.logs import open_log
from streamflow.sdk.log import TopicSpec
from streamflow.testing.kafka_server import KafkaServer

HERE = Path(__file__).parent
STREAMFLOW = Path(sys.executable).with_name("streamflow")
EXACTLY_ONCE = "exactly once on both sides, where a peer has it"
Figures = dict[str, float]
Cells = dict[str, Callable[[str], Figures]]
Question = Callable[["Bench", argparse.Namespace], dict[str, object]]


class Bench:
    """One broker with its topics."""

    def __init__(self, server: KafkaServer, folder: Path) -> None:
        self.server, self.folder, self._number = server, folder, 0
        self._filled: set[str] = set()

    def fill(self, n: int, partitions: int, *, as_json: bool = False, kind: str = "order") -> str:
        """An input topic of n orders, or of their payments; questions that want the same share it."""
        topic = f"in-{kind}s-{n}-{partitions}-{'json' if as_json else 'avro'}"
        if topic in self._filled:
            return topic
        command = [sys.executable, str(HERE / "data.py"), self.server.address, str(n), "--topic", topic,
                   "--kind", kind, "--partitions", str(partitions), *(["--json"] if as_json else [])]  # fmt: skip
        subprocess.run(command, check=True)
        self._filled.add(topic)
        return topic

    def output(self, partitions: int) -> str:
        self._number += 1
        topic = f"out-{self._number}"

        async def create() -> None:
            log = open_log(self.server.address)
            await log.open()
            await log.create_topic(TopicSpec(name=topic, partitions=partitions, config={"retention.ms": "-1"}))
            await log.close()

        asyncio.run(create())
        return topic

    def drop(self, topic: str) -> None:
        """Topics of a run are deleted after it: the disk is not what is measured."""
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.server.bootstrap})
        self._filled.discard(topic)
        names = [t for t in admin.list_topics(timeout=30).topics if t not in self._filled and not t.startswith("__")]
        for done in admin.delete_topics(names).values() if names else ():
            done.result(timeout=30)

    def streamflow(self, source: str, target: str, n: int, *, as_json: bool = False, processes: int = 1,
                   guarantee: str = "exactly_once") -> Figures:  # fmt: skip
        """W1 over n orders, its output compared record by record."""
        topics = {"json-orders": source, "json-priced": target} if as_json else {"orders": source, "priced": target}
        workload = "w1_json" if as_json else "w1"
        figures = self.run(workload, topics, target, n, processes=processes, guarantee=guarantee)
        asyncio.run(expected.check(self.server.address, target, n, as_json=as_json))
        return figures

    def copy(self, workload: str, topics: Mapping[str, str], name: str) -> Path:
        """A folder's workflow under another name; `topics` stand for those that it calls `bench.…`."""
        folder = self.folder / name
        shutil.copytree(HERE / workload, folder)
        text = re.sub(r"workflow: \S+", f"workflow: w-{name}", (folder / "workflow.yaml").read_text())
        text = re.sub(r"\bbench\.([\w-]+)", lambda found: topics[found[1]], text)
        (folder / "workflow.yaml").write_text(text)
        return folder

    def run(self, workload: str, topics: Mapping[str, str], name: str, n: int, *, processes: int = 1,
            guarantee: str = "exactly_once", environment: Mapping[str, str] | None = None) -> Figures:  # fmt: skip
        """One run of a folder's workflow over n records. `environment`: what is added to ours."""
        folder = self.copy(workload, topics, name)
        command = [STREAMFLOW, "run", "workflow.yaml", "--log", self.server.address, "--until-end",
                   "--metrics", "m.json", "--workers", str(processes), "--guarantee", guarantee]  # fmt: skip
        before = self._broker_cpu_s()
        told = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, env={**os.environ, **(environment or {})}
        )
        if told.returncode:
            raise RuntimeError(f"{workload} ended with {told.returncode}: {told.stderr[-1500:]}")
        broker = self._broker_cpu_s() - before
        facts = orjson.loads((folder / "m.json").read_bytes())
        return {
            "records_per_s": n / facts["active_seconds"],
            "cpu_us_per_record": facts["cpu_seconds"] / n * 1e6,
            "cpu_us_per_record_run": facts["cpu_seconds_active"] / n * 1e6,
            "broker_cpu_us_per_record": broker / n * 1e6,
            "memory_peak_mb": facts["memory_peak_bytes"] / 1e6,
        }

    def peer(self, which: Peer, workload: str, source: str, target: str, records: int) -> Figures:
        """One run of a peer over `records` input records, which it must have seen to the end. Raises NotHere."""
        command = peer.command(which, workload, self.server.bootstrap, source, target, records)
        before = self._broker_cpu_s()
        told = peer.told(command)
        broker = self._broker_cpu_s() - before
        if told.get("dropped") or not told.get("complete", True) or told["records"] != records:
            raise AssertionError(f"{which.name}: dropped records, or did not come to an end: {told}")
        kept = ("records_per_s", "cpu_us_per_record", "cpu_us_per_record_run")
        return {k: told[k] for k in kept} | {"broker_cpu_us_per_record": broker / records * 1e6}

    def priced_by(self, which: Peer, source: str, n: int) -> Callable[[str], Figures]:
        """A cell of W1: a peer over n orders, its output compared record by record."""

        def cell(target: str) -> Figures:
            figures = self.peer(which, "W1", source, target, n)
            asyncio.run(expected.check(self.server.address, target, n, as_json=False))
            return figures

        return cell

    def _broker_cpu_s(self) -> float:
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alternate(bench: Bench, runs: int, partitions: int, cells: Cells) -> dict[str, object]:
    """Each cell in turn, `runs` times, into topics of its own. A peer that cannot be set up is told and left out."""
    found: dict[str, list[Figures]] = {name: [] for name in cells}
    missing: dict[str, str] = {}
    for run in range(runs):
        for name, cell in cells.items():
            if name in missing:
                continue
            target = bench.output(partitions)
            try:
                figures = cell(target)
            except peer.NotHere as why:
                missing[name] = str(why)
                print(f"  NOT HERE: {name}: {why}", flush=True)
                continue
            bench.drop(target)
            found[name].append(figures)
            print(f"  run {run + 1} {name}: " + ", ".join(f"{k} {v:,.2f}" for k, v in figures.items()), flush=True)
    return summed(found) | ({"missing": missing} if missing else {})


def summed(found: Mapping[str, Sequence[Figures]]) -> dict[str, object]:
    """Medians, spread (least, most), all figures of each cell; and the medians of the first cell's / each other's."""
    kept = {name: runs for name, runs in found.items() if runs}
    first = next(iter(kept.values()), [])
    return {
        "median": {n: {k: statistics.median(f[k] for f in fs) for k in fs[0]} for n, fs in kept.items()},
        "spread": {n: {k: [min(f[k] for f in fs), max(f[k] for f in fs)] for k in fs[0]} for n, fs in kept.items()},
        "ratio": {name: ratios(first, fs) for name, fs in kept.items() if fs is not first},
        "runs": kept,
    }


def ratios(ours: Sequence[Figures], theirs: Sequence[Figures]) -> Figures:
    """Ours / theirs by figure: the median over runs of the same number."""
    pairs = list(zip(ours, theirs, strict=False))
    shared = [k for k in ours[0] if k in theirs[0]] if pairs else []
    return {k: statistics.median(a[k] / b[k] if b[k] else float("inf") for a, b in pairs) for k in shared}


@contextmanager
def kafka_bench() -> Iterator[Bench]:
    """A broker in a folder that goes behind it."""
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            yield Bench(server, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def header(guarantee: str = EXACTLY_ONCE) -> dict[str, object]:
    """What a result says of where it comes from."""
    import aiokafka

    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": processor()},
        "versions": {
            "streamflow": commit(),
            "polars": pl.__version__,
            "aiokafka": aiokafka.__version__,
            "kafka": "4.3.1",
        },
        "guarantee": guarantee,
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def commit() -> str:
    """The commit that is measured, with `+` where files were changed since."""
    said = [
        subprocess.run(["git", *asked], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        for asked in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return said[0] + "+" * bool(said[1])


def options(doc: str | None, name: str, *, records: int, runs: int) -> argparse.ArgumentParser:
    """The options that questions on Kafka share."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--records", type=int, default=records)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument(
        "--only", default="", help="a regular expression over the questions' names; others' figures stay"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{name}.json")
    return parser


def ask(questions: Mapping[str, Question], args: argparse.Namespace) -> None:
    """Put the questions to one broker; the result file has the answers by their names."""
    report = header()
    if args.only and args.out.exists():
        report = json.loads(args.out.read_text()) | report
    with kafka_bench() as bench:
        for name, question in questions.items():
            if re.search(args.only, name):
                print(name, flush=True)
                report[name] = question(bench, args)
    write(args.out, report)


def with_bytecode(folder: Path) -> dict[str, str]:
    """Our environment, with compiled modules kept in a folder, and loaded from there: they are compiled once."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder)}


def write(out: Path, report: Mapping[str, object]) -> None:
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
