"""How fast is a keyed window on Apache Kafka, exactly once, beside Kafka Streams?

W2 of the peers: orders by country and article, counted and summed in ten seconds of event time, over a repartition
topic. One broker, one input topic, alternating runs with topics of their own; of both outputs the last record of each
key and window is compared with a polars computation, counts exactly, sums of doubles to the ninth digit: rows of one
key come from four partitions, in no order. Kafka Streams is given two hours of grace, since its threads run apart and
it would drop what comes late; streamflow needs none. Rates run from the first record read to the end of the last
commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import data
from expected import read
from kafka import HERE, Bench, Figures, alternate, processor

from streamflow.model.types import DOUBLE, LONG, STRING, TIMESTAMP_MS, Schema, record_of
from streamflow.testing.kafka_server import KafkaServer

WINDOW_MS = 10_000
OURS = record_of({"place": STRING, "window_start": TIMESTAMP_MS, "window_end": TIMESTAMP_MS, "cnt": LONG,
                  "total": DOUBLE.optional()})  # fmt: skip
THEIRS = record_of({"country": STRING, "sku": STRING, "window_start": LONG, "cnt": LONG, "total": DOUBLE})


@lru_cache(maxsize=1)
def wanted(n: int) -> pl.DataFrame:
    """place, window_start (ms), cnt, total."""
    orders = pl.concat(data.orders(n)).select(
        pl.concat_str("country", pl.lit("|"), "sku").alias("place"),
        (pl.col("ts") // WINDOW_MS * WINDOW_MS).alias("window_start"),
        (pl.col("amount") * pl.col("qty")).alias("total"),
    )
    sums = orders.group_by("place", "window_start").agg(pl.len().cast(pl.Int64).alias("cnt"), pl.col("total").sum())
    return sums.sort("place", "window_start")


def check(address: str, topic: str, schema: Schema, n: int) -> None:
    """Raise unless the last records of all keys and windows are the wanted ones."""
    got = asyncio.run(read(address, topic, schema))
    place = pl.col("place") if "place" in got.columns else pl.concat_str("country", pl.lit("|"), "sku").alias("place")
    got = got.select(place, pl.col("window_start").cast(pl.Int64), "cnt", "total")
    got = got.unique(["place", "window_start"], keep="last").sort("place", "window_start")
    want = wanted(n)
    if not got.drop("total").equals(want.drop("total")):
        raise AssertionError(f"{topic}: {got.height} windows with other counts, {want.height} expected")
    off = ((got["total"] - want["total"]).abs() / want["total"]).max()
    if not isinstance(off, float) or off > 1e-9:
        raise AssertionError(f"{topic}: sums differ by a part of {off}")


class Keyed(Bench):
    """W2 on one broker."""

    def ours(self, source: str, target: str, n: int, *, processes: int) -> Figures:
        figures = self.run("w2", source, target, n, processes=processes)
        check(self.server.address, target, OURS, n)
        return figures

    def theirs(self, source: str, target: str, n: int, *, threads: int) -> Figures:
        told = self.told(self.kstreams_command(source, target, n, threads=threads, workload="W2"))
        if told["dropped"] or not told["complete"]:
            raise AssertionError(f"Kafka Streams dropped {told['dropped']} records, or did not come to an end")
        check(self.server.address, target, THEIRS, n)
        return self.figures(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "keyed.json")
    args = parser.parse_args()
    folder, n = Path(tempfile.mkdtemp(prefix="streamflow-bench-")), args.records
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Keyed(server, folder)
            source = bench.fill(n, 4, as_json=False)
            found = alternate(bench, args.runs, 4, {
                "streamflow": lambda out: bench.ours(source, out, n, processes=args.processes),
                "kafka streams, 2 threads": lambda out: bench.theirs(source, out, n, threads=2),
            })  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": processor()},
        "versions": {"polars": pl.__version__, "kafka": "4.3.1", "kafka streams": "4.3.1"},
        "guarantee": "exactly once on both sides",
        "records": n,
        "W2": found,
    }
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
