"""What does Faust cost a worker? Its own CPU, counted: turns through its agents, and what it does on the side.

Two whole workers differ by far more from run to run than Faust takes, so its parts are measured one by one:
- an empty turn through a channel and an agent, and without them, as CPU time of a process that does nothing else;
- the turns of a worker at full load, counted;
- a worker without input, under Faust and plain: heartbeats, timers and the leader's election.
The whole of both is shown beside it: CPU from the first record to the last commit, in alternating runs; medians. Tasks
do not wait for Faust, so a part of its start, about a second of CPU once, falls into that time.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from harness import HERE, STREAMFLOW, Bench, processor

from streamflow.testing.kafka_server import KafkaServer

IDLE_S, SETTLED_S = 30, 10


@contextmanager
def worker(
    bench: Bench, source: str, target: str, *, under_faust: bool
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A worker of the reference workflow in a folder of its own."""
    folder = bench.folder / target
    shutil.copytree(HERE / "w1", folder)
    text = (folder / "workflow.yaml").read_text()
    text = re.sub(r"workflow: \S+", f"workflow: w-{target}", text)
    (folder / "workflow.yaml").write_text(text.replace("bench.orders", source).replace("bench.priced", target))
    arguments = ["workflow.yaml", "--log", bench.server.address, "--metrics", "m.json"]
    counted = [sys.executable, str(HERE / "faust_turns.py"), "count", "turns", *arguments]
    process = subprocess.Popen(
        counted if under_faust else [STREAMFLOW, "run", *arguments],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process, folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


def loaded(bench: Bench, source: str, target: str, n: int, *, under_faust: bool) -> dict[str, float]:
    """A run over n records."""
    with worker(bench, source, target, under_faust=under_faust) as (process, folder):
        while True:
            time.sleep(0.2)
            if (folder / "m.json").exists() and (text := (folder / "m.json").read_bytes()):
                told = orjson.loads(text)
                if told["records_in"] >= n and told["lag"] == 0:
                    break
            assert process.poll() is None
    told = orjson.loads((folder / "m.json").read_bytes())
    return {
        "cpu_us_per_record": told["cpu_seconds_active"] / n * 1e6,
        "records_per_s": n / told["active_seconds"],
        "seconds": told["active_seconds"],
        **({"turns": int((folder / "turns").read_text())} if under_faust else {}),
    }


def idle(bench: Bench, source: str, target: str, *, under_faust: bool) -> float:
    """CPU seconds a second of a worker that has nothing to do."""
    with worker(bench, source, target, under_faust=under_faust) as (process, _):
        time.sleep(SETTLED_S)
        watched = psutil.Process(process.pid)
        before = watched.cpu_times()
        time.sleep(IDLE_S)
        after = watched.cpu_times()
    return (after.user + after.system - before.user - before.system) / IDLE_S


def empty_turn(bench: Bench) -> dict[str, float]:
    """CPU µs of a turn without work, through agents and plain."""
    workflow = bench.folder / "in-cost" / "workflow.yaml"
    shutil.copytree(HERE / "w1", workflow.parent)
    command = [sys.executable, str(HERE / "faust_turns.py"), "cost", str(workflow), bench.server.address, "2000"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return found


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
            source, nothing = bench.fill(args.records, 4, as_json=False), bench.output(4)
            for run in range(args.runs):
                for name, figures_of in found.items():
                    target = bench.output(4)
                    figures = loaded(bench, source, target, args.records, under_faust=name == "faust")
                    bench.drop(target)
                    figures_of.append(figures)
                    print(f"  run {run + 1} {name}: {figures}", flush=True)
            idles = {name: idle(bench, nothing, bench.output(4), under_faust=name == "faust") for name in found}
            turn = empty_turn(bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {n: {k: statistics.median(f[k] for f in fs) for k in fs[0]} for n, fs in found.items()}
    whole = medians["faust"]["cpu_us_per_record"] / medians["plain"]["cpu_us_per_record"] - 1
    faust = medians["faust"]
    turns_s = (turn["agents"] - turn["plain"]) * faust["turns"] / 1e6
    side_s = (idles["faust"] - idles["plain"]) * faust["seconds"]
    share = (turns_s + side_s) / (faust["cpu_us_per_record"] * args.records / 1e6)
    print(f"an empty turn: {turn['agents']:.0f} µs of CPU through an agent, {turn['plain']:.0f} µs without")
    print(f"turns at full load: {faust['turns']:,.0f} in {faust['seconds']:.1f} s")
    print(f"idle: {idles['faust']:.2%} of a core under Faust, {idles['plain']:.2%} without")
    print(f"Faust's share of a worker's CPU at full load: {share:.2%} (whole workers beside each other: {whole:+.1%})")
    report = {"processor": processor(), "records": args.records, "median": medians, "runs": found,
              "empty_turn_us": turn, "idle_cores": idles, "share": share,
              "share_of_whole_workers": whole}  # fmt: skip
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
