"""What do functions of users cost on Apache Kafka, beside the same as expressions?

W1's map as a Python function that is called for each item, and as one that is called with frames; both outputs are
W1's, record for record.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import expected
from harness import HERE, Bench, Cells, Figures, alternate, ask, options

PATH = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))  # where bench_functions is found


def functions(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    sizes = {"w1_frame": args.records, "w1_item": args.records // 4}
    sources = {workload: bench.fill(n, 4) for workload, n in sizes.items()}

    def cell(workload: str, target: str) -> Figures:
        n = sizes[workload]
        topics = {"orders": sources[workload], "priced": target}
        figures = bench.run(workload, topics, target, n, environment={"PYTHONPATH": PATH})
        asyncio.run(expected.check(bench.server.address, target, n, as_json=False))
        return figures

    cells: Cells = {
        "frame function": partial(cell, "w1_frame"),
        "item function": partial(cell, "w1_item"),
        "W1": lambda out: bench.streamflow(sources["w1_frame"], out, args.records),
    }
    return {"records": sizes} | alternate(bench, args.runs, 4, cells)


if __name__ == "__main__":
    ask({"functions": functions}, options(__doc__, "functions", records=2_000_000, runs=3).parse_args())
