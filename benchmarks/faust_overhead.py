"""What does Faust cost a worker? The same tasks on the same records, driven directly and through Faust's agents.

In one process and one run: turns alternate between a plain worker and one under Faust, each over a fresh copy of the
positions (a workflow of its own over the same input). CPU from the first record to the last commit; medians.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parent))
from kafka import HERE, STREAMFLOW, Bench, processor

from streamflow.testing.kafka_server import KafkaServer


def once(bench: Bench, source: str, target: str, n: int, *, under_faust: bool) -> dict[str, float]:
    folder = bench.folder / target
    shutil.copytree(HERE / "w1", folder)
    text = (folder / "workflow.yaml").read_text()
    text = re.sub(r"workflow: \S+", f"workflow: w-{target}", text)
    (folder / "workflow.yaml").write_text(text.replace("bench.orders", source).replace("bench.priced", target))
    command = "worker" if under_faust else "run"
    process = subprocess.Popen(
        [STREAMFLOW, command, "workflow.yaml", "--log", bench.server.address, "--metrics", "m.json"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            time.sleep(0.2)
            if (folder / "m.json").exists() and (text := (folder / "m.json").read_bytes()):
                told = orjson.loads(text)
                if told["records_in"] >= n and told["lag"] == 0:
                    break
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    told = orjson.loads((folder / "m.json").read_bytes())
    return {
        "cpu_us_per_record": told["cpu_seconds_active"] / n * 1e6,
        "records_per_s": n / told["active_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "faust.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    found: dict[str, list[dict[str, float]]] = {"plain": [], "faust": []}
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Bench(server, folder)
            source = bench.fill(args.records, 4, as_json=False)
            for run in range(args.runs):
                for name, figures_of in found.items():
                    target = bench.output(4)
                    figures = once(bench, source, target, args.records, under_faust=name == "faust")
                    bench.drop(target)
                    figures_of.append(figures)
                    print(f"  run {run + 1} {name}: {figures}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {n: {k: statistics.median(f[k] for f in fs) for k in fs[0]} for n, fs in found.items()}
    share = medians["faust"]["cpu_us_per_record"] / medians["plain"]["cpu_us_per_record"] - 1
    print(f"Faust's share of CPU at full load: {share:+.1%}")
    report = {"processor": processor(), "records": args.records, "median": medians, "runs": found, "share": share}
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
