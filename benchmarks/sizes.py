"""How fast are small records and large ones on Apache Kafka?

Records of some 50 bytes, and of 10 KB of which half compresses; filtered and computed with, outputs compared with
polars. `mb_per_s` counts the Avro values that came in.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import lru_cache, partial
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import data
from expected import read
from harness import HERE, Bench, Cells, Figures, alternate, ask, options

from streamflow.codecs.avrotypes import schema_from_avro


@lru_cache(maxsize=2)
def wanted(kind: str, n: int) -> pl.DataFrame:
    frames = [
        f.filter(pl.col("value") > 20).select(pl.exclude("^@.*$")).with_columns(pl.col("value") * 1.8 + 32)
        for f in data.KINDS[kind][0](n)
    ]
    return pl.concat(frames).sort("at")


def check(address: str, topic: str, kind: str, n: int) -> None:
    """Raise unless the topic holds exactly the wanted readings."""
    schema = schema_from_avro((HERE / f"w1_{kind}" / "reading.avsc").read_text())
    got, want = asyncio.run(read(address, topic, schema)).sort("at"), wanted(kind, n)
    if not got.select(want.columns).equals(want):
        raise AssertionError(f"{topic}: {got.height} readings which are not the {want.height} that were expected")


def sizes(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    counts = {"small": args.records, "large": args.records // 50}
    sources = {kind: bench.fill(n, 4, kind=kind) for kind, n in counts.items()}
    bytes_each = {"small": 27, "large": 27 + data.LARGE}

    def cell(kind: str, target: str) -> Figures:
        n = counts[kind]
        figures = bench.run(f"w1_{kind}", {"readings": sources[kind], "told": target}, target, n)
        check(bench.server.address, target, kind, n)
        return figures | {"mb_per_s": figures["records_per_s"] * bytes_each[kind] / 1e6}

    cells: Cells = {f"{kind} records": partial(cell, kind) for kind in counts}
    return {"records": counts} | alternate(bench, args.runs, 4, cells)


if __name__ == "__main__":
    ask({"sizes": sizes}, options(__doc__, "sizes", records=4_000_000, runs=3).parse_args())
