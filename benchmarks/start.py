"""How long do commands take that have next to nothing to do?

`streamflow run --until-end` over a thousand orders on the embedded log, from its start to its end, and `--help`. Wall
time in seconds of whole processes, in turn; the first of each, which is not counted, leaves its bytecode behind.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import data
from harness import HERE, STREAMFLOW, header, with_bytecode, write

RECORDS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "start.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        asyncio.run(data.write(str(folder / "filled"), RECORDS))
        found = measured(folder, args.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, runs in found.items():
        print(f"{name}: median {statistics.median(runs):.3f} s, {min(runs):.3f} to {max(runs):.3f}")
    medians = {name: {"seconds": statistics.median(runs)} for name, runs in found.items()}
    write(args.out, header("exactly once") | {"start": {"records": RECORDS, "median": medians, "runs": found}})


def measured(folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command."""
    run = [STREAMFLOW, "run", HERE / "w1" / "workflow.yaml", "--log", folder / "log", "--until-end"]
    found: dict[str, list[float]] = {"run": [], "--help": []}
    cached = with_bytecode(folder / "bytecode")
    for turn in range(runs + 1):
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copytree(folder / "filled", folder / "log")
        for name, command in {"run": run, "--help": [STREAMFLOW, "--help"]}.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, env=cached, capture_output=True)
            if turn:
                found[name].append(time.perf_counter() - begun)
    return found


if __name__ == "__main__":
    main()
