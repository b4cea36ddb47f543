"""What do records of executions cost? Five nodes on the embedded log, exactly once, one worker.

`none`, `errors` and `all` take turns, there and back, so that a machine that becomes busier meanwhile slows all of
them. Each run: a fresh log folder with the same orders, `streamflow run --until-end` as a user would start it, rate
from the first record to the last commit. Every item is an execution. `errors` is run twice, as `none` is: nothing
fails, and one item in a hundred does. Medians, and the median of the ratios to what is run alike in the same turn.
"""

from __future__ import annotations

import argparse
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
from harness import HERE, with_bytecode

MODES = ("none", "errors", "all", "none, 1 % fail", "errors, 1 % fail")
FAILS = ("total: amount * qty", "total: amount * qty + 0 * (1 // (qty - 5) if amount > 88 and qty < 6 else 0)")


def once(n: int, mode: str, bytecode: Path) -> dict[str, float]:
    """One run over n orders; modules are compiled into, and loaded from, the folder `bytecode`."""
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        flow = shutil.copytree(HERE / "executions_flow", folder / "flow") / "workflow.yaml"
        text = flow.read_text().replace("executions: none", f"executions: {mode.split(',', maxsplit=1)[0]}")
        flow.write_text(text.replace(*FAILS) if "fail" in mode else text)
        subprocess.run([sys.executable, str(HERE / "data.py"), str(folder / "log"), str(n)], check=True)
        command = [sys.executable, "-m", "streamflow.cli.main", "run", flow, "--log", folder / "log", "--until-end"]
        subprocess.run(
            [*command, "--metrics", folder / "metrics.json"],
            check=True,
            env=with_bytecode(bytecode),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        facts = orjson.loads((folder / "metrics.json").read_bytes())
        return {
            "executions_per_s": facts["records_per_s"],
            "cpu_us_per_execution": facts["cpu_seconds_active"] / n * 1e6,
            "memory_peak_mb": facts["memory_peak_bytes"] / 1e6,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="`none` has to be among them")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "executions.json")
    args = parser.parse_args()
    if "none" not in args.modes or ("errors, 1 % fail" in args.modes and "none, 1 % fail" not in args.modes):
        parser.error("modes are compared with `none`, and failing ones with `none, 1 % fail`: ask for these as well")
    runs: dict[str, list[dict[str, float]]] = {mode: [] for mode in args.modes}
    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        once(1_000, "all", Path(folder))  # compiles all modules
        for turn in range(args.turns):
            for mode in args.modes if turn % 2 == 0 else reversed(args.modes):
                runs[mode].append(once(args.records, mode, Path(folder)))
    report: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "polars": pl.__version__},
        "records": args.records,
    }
    for mode, made in runs.items():
        median = {k: statistics.median(r[k] for r in made) for k in made[0]}
        slower = statistics.median(
            r["cpu_us_per_execution"] / base["cpu_us_per_execution"]
            for r, base in zip(made, runs["none, 1 % fail" if "fail" in mode else "none"], strict=True)
        )
        report[mode] = {"runs": made, "median": median, "cpu_ratio_to_none": slower}
        print(
            f"{mode:<17} {median['executions_per_s']:>9,.0f} executions/s, {median['cpu_us_per_execution']:.2f} CPU µs "
            f"each ({slower:.3f} of none), {median['memory_peak_mb']:.0f} MB peak"
        )
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
