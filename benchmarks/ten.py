"""What do ten nodes with branches cost on Apache Kafka, beside the four of W1?

The ten nodes part their items by `if` and `switch` and bring them together again; what comes out is W1's output, record
for record.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import expected
from harness import Bench, Figures, alternate, ask, options


def ten(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    n = args.records
    source = bench.fill(n, 4)

    def cell(target: str) -> Figures:
        figures = bench.run("w1_ten", {"orders": source, "priced": target}, target, n)
        asyncio.run(expected.check(bench.server.address, target, n, as_json=False))
        return figures

    cells = {"ten nodes": cell, "W1": lambda out: bench.streamflow(source, out, n)}
    return {"records": n} | alternate(bench, args.runs, 4, cells)


if __name__ == "__main__":
    ask({"ten": ten}, options(__doc__, "ten", records=4_000_000, runs=3).parse_args())
