"""How fast is the reference workload on the embedded log, exactly once, in one process?

Each run: a fresh log folder with the same input, `streamflow run --until-end` as a user would start it, figures from
its metrics file: rate and CPU from the first record to the last commit, and CPU of the whole process. Outputs are
checked against a polars computation. Medians of the runs. A first small run, which is not counted, leaves the bytecode
of all modules in a cache: compiling them takes over a second, once in their life.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parent))
import expected
from harness import HERE, STREAMFLOW, header, with_bytecode, write


def once(n: int, *, as_json: bool, bytecode: Path) -> dict[str, float]:
    """One run over n orders. Modules are compiled into, and loaded from, the folder `bytecode`."""
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        # A process of its own: the generator's memory and warm caches of code must not count.
        fill = [sys.executable, str(HERE / "data.py"), str(folder / "log"), str(n), *(["--json"] if as_json else [])]
        subprocess.run(fill, check=True)
        metrics = folder / "metrics.json"
        workflow = HERE / ("w1_json" if as_json else "w1") / "workflow.yaml"
        subprocess.run(
            [STREAMFLOW, "run", workflow, "--log", folder / "log", "--until-end", "--metrics", metrics],
            check=True,
            env=with_bytecode(bytecode),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        facts = orjson.loads(metrics.read_bytes())
        topic = "bench.json-priced" if as_json else "bench.priced"
        asyncio.run(expected.check(str(folder / "log"), topic, n, as_json=as_json))
        return {
            "records_per_s": facts["records_per_s"],
            "cpu_us_per_record": facts["cpu_seconds"] / n * 1e6,
            "cpu_us_per_record_run": facts["cpu_seconds_active"] / n * 1e6,
            "memory_peak_mb": facts["memory_peak_bytes"] / 1e6,
            "seconds": facts["seconds"],
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=["avro", "json"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "embedded.json")
    args = parser.parse_args()
    report = header("exactly once")
    for kind in ("avro", "json"):
        if args.only not in (None, kind):
            continue
        n, as_json = args.records if kind == "avro" else args.records // 4, kind == "json"
        with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
            once(1_000, as_json=as_json, bytecode=Path(folder))
            runs = [once(n, as_json=as_json, bytecode=Path(folder)) for _ in range(args.runs)]
        medians = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
        report[kind] = {"records": n, "runs": {"streamflow": runs}, "median": {"streamflow": medians}}
        print(
            f"W1 {kind}: {n:,} records: {medians['records_per_s']:,.0f} records/s, "
            f"{medians['cpu_us_per_record_run']:.2f} CPU µs/record "
            f"({medians['cpu_us_per_record']:.2f} with the start of the process), "
            f"{medians['memory_peak_mb']:.0f} MB peak; {len(runs)} runs, "
            f"{min(r['records_per_s'] for r in runs):,.0f}–{max(r['records_per_s'] for r in runs):,.0f} records/s"
        )
    write(args.out, report)


if __name__ == "__main__":
    main()
