"""How fast is the reference workload on Apache Kafka, exactly once, beside Kafka Streams and a plain Python loop?

One broker, one input topic for all. Runs alternate, each with topics of its own; every output of ours is compared with
a polars computation, those of the peers by count. Rates run from the first record read to the end of the last commit,
the same for each; CPU is that of the whole process from its start on, and from the first record on.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiokafka
import confluent_kafka.admin
import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import expected

from streamflow.logs import open_log
from streamflow.sdk.log import TopicSpec
from streamflow.testing.kafka_server import KafkaServer

HERE = Path(__file__).parent
STREAMFLOW = Path(sys.executable).with_name("streamflow")
KSTREAMS = HERE / "peers" / "kafka-streams"
Figures = dict[str, float]
Cells = dict[str, Callable[[str], Figures]]


class Bench:
    """One broker with its topics."""

    def __init__(self, server: KafkaServer, folder: Path) -> None:
        self.server, self.folder, self._number = server, folder, 0
        self._filled: set[str] = set()

    def fill(self, n: int, partitions: int, *, as_json: bool, kind: str = "order") -> str:
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
        ours = (f"w-{topic}.", "ks-")  # Kafka Streams names its own by application and time
        names = [t for t in admin.list_topics(timeout=30).topics if t == topic or t.startswith(ours)]
        for done in admin.delete_topics(names).values():
            done.result(timeout=30)

    def streamflow(self, source: str, target: str, n: int, *, as_json: bool, processes: int = 1) -> Figures:
        topics = {"json-orders": source, "json-priced": target} if as_json else {"orders": source, "priced": target}
        figures = self.run("w1_json" if as_json else "w1", topics, target, n, processes=processes)
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

    def run(self, workload: str, topics: Mapping[str, str], name: str, n: int, *, processes: int = 1) -> Figures:
        """One run of a folder's workflow over n records."""
        folder = self.copy(workload, topics, name)
        command = [STREAMFLOW, "run", "workflow.yaml", "--log", self.server.address, "--until-end",
                   "--metrics", "m.json", "--workers", str(processes)]  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        told = orjson.loads((folder / "m.json").read_bytes())
        return {
            "records_per_s": n / told["active_seconds"],
            "cpu_us_per_record": told["cpu_seconds"] / n * 1e6,
            "cpu_us_per_record_run": told["cpu_seconds_active"] / n * 1e6,
            "memory_peak_mb": told["memory_peak_bytes"] / 1e6,
        }

    def kstreams(self, source: str, target: str, n: int, *, threads: int) -> Figures:
        return self._peer(self.kstreams_command(source, target, n, threads=threads), n)

    def kstreams_command(self, source: str, target: str, n: int, *, threads: int, workload: str = "W1") -> list[str]:
        jar = KSTREAMS / "target" / "kafka-streams-peer-1.jar"
        if not jar.exists():
            subprocess.run(["mvn", "-q", "package"], cwd=KSTREAMS, check=True)
        classes = f"{jar}{os.pathsep}{KSTREAMS / 'target' / 'deps' / '*'}"
        return ["java", "-Xmx3g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classes, "peers.Main",
                self.server.bootstrap, source, target, str(n), workload, "exactly_once_v2", str(threads)]  # fmt: skip

    def plain_loop(self, source: str, target: str, n: int) -> Figures:
        command = [sys.executable, str(HERE / "peers" / "raw-python" / "raw_confluent.py"), self.server.bootstrap]
        return self._peer([*command, source, target, str(n)], n)

    def _peer(self, command: list[str], n: int) -> Figures:
        told = self.told(command)
        wanted = expected.priced(n).height
        if told["out"] not in (wanted, -1):
            raise AssertionError(f"{told['peer']}: {told['out']} records out, {wanted} expected")
        return self.figures(told)

    def told(self, command: list[str]) -> dict[str, Any]:
        """What a peer says of its run."""
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
        found: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith('{"peer"')))
        return found

    def figures(self, told: dict[str, Any]) -> Figures:
        return {k: told[k] for k in ("records_per_s", "cpu_us_per_record", "cpu_us_per_record_run")}


def alternate(
    bench: Bench, runs: int, partitions: int, cells: dict[str, Callable[[str], Figures]]
) -> dict[str, object]:
    """Each cell in turn, `runs` times; medians and all figures."""
    found: dict[str, list[Figures]] = {name: [] for name in cells}
    for run in range(runs):
        for name, cell in cells.items():
            target = bench.output(partitions)
            figures = cell(target)
            bench.drop(target)
            found[name].append(figures)
            print(f"  run {run + 1} {name}: " + ", ".join(f"{k} {v:,.2f}" for k, v in figures.items()), flush=True)
    medians = {n: {k: statistics.median(f[k] for f in fs) for k in fs[0]} for n, fs in found.items()}
    return {"median": medians, "runs": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="a regular expression over the questions' names")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kafka.json")
    args = parser.parse_args()
    report: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": processor()},
        "versions": {"polars": pl.__version__, "aiokafka": aiokafka.__version__, "kafka": "4.3.1"},
        "guarantee": "exactly once on both sides; the plain loop has none",
    }
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Bench(server, folder)
            for question, ask in QUESTIONS.items():
                if re.search(args.only, question):
                    print(question, flush=True)
                    report[question] = ask(bench, args.records, args.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


def peers(bench: Bench, n: int, runs: int) -> dict[str, object]:
    """streamflow, Kafka Streams with 2 threads, and the plain loop, on 4 partitions."""
    source = bench.fill(n, 4, as_json=False)
    return alternate(bench, runs, 4, {
        "streamflow": lambda out: bench.streamflow(source, out, n, as_json=False),
        "kafka streams, 2 threads": lambda out: bench.kstreams(source, out, n, threads=2),
        "confluent-kafka + fastavro": lambda out: bench.plain_loop(source, out, n),
    })  # fmt: skip


def partitions(bench: Bench, n: int, runs: int) -> dict[str, object]:
    """1, 4 and 16 partitions."""
    found: dict[str, object] = {}
    for count in (1, 4, 16):
        source = bench.fill(n, count, as_json=False)
        found[str(count)] = alternate(bench, runs, count, {
            "streamflow": lambda out, source=source: bench.streamflow(source, out, n, as_json=False),
            "kafka streams, 2 threads": lambda out, source=source: bench.kstreams(source, out, n, threads=2),
        })  # fmt: skip
    return found


def untyped(bench: Bench, n: int, runs: int) -> dict[str, object]:
    """Untyped JSON, a quarter of the records."""
    source = bench.fill(n // 4, 4, as_json=True)
    return alternate(bench, runs, 4, {
        "streamflow": lambda out: bench.streamflow(source, out, n // 4, as_json=True),
    })  # fmt: skip


QUESTIONS = {"peers": peers, "partitions": partitions, "json": untyped}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
