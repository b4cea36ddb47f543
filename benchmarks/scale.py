"""Does a record cost the same when there are more of them, or more processes?

W1 on Apache Kafka with 1, 10 and 50 million orders on 4 partitions, and with 1 and 2 worker processes; 1, 4 and 16
partitions are a question of `kafka.py`. Outputs are compared by count where they would not fit beside the broker, else
record by record.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import expected
from harness import Bench, Cells, Figures, alternate, ask, options

MILLION = 1_000_000
COMPARED_MAX = 10 * MILLION


def records(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """1, 10 and 50 times --records, one after the other: cells of one size each, for the disk's sake."""
    found: dict[str, object] = {}
    for n in (args.records, 10 * args.records, 50 * args.records):
        source = bench.fill(n, 4)
        runs = args.runs if n <= COMPARED_MAX else 1
        found[str(n)] = alternate(bench, runs, 4, {"streamflow": partial(_w1, bench, source, n)})
        bench.drop(source)
    return found


def processes(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    n = 4 * args.records
    source = bench.fill(n, 4)
    cells: Cells = {
        "1 process": partial(_w1, bench, source, n),
        "2 processes": partial(_w1, bench, source, n, processes=2),
    }
    return {"records": n} | alternate(bench, args.runs, 4, cells)


def _w1(bench: Bench, source: str, n: int, target: str, *, processes: int = 1) -> Figures:
    if n <= COMPARED_MAX:
        return bench.streamflow(source, target, n, processes=processes)
    figures = bench.run("w1", {"orders": source, "priced": target}, target, n, processes=processes)
    out, wanted = asyncio.run(expected.counted(bench.server.address, target)), expected.priced_count(n)
    if out != wanted:
        raise AssertionError(f"{target}: {out:,} records out, {wanted:,} expected")
    return figures


QUESTIONS = {"records": records, "processes": processes}

if __name__ == "__main__":
    ask(QUESTIONS, options(__doc__, "scale", records=MILLION, runs=3).parse_args())
