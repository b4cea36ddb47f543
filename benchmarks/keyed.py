"""How fast are a keyed window and a join on Apache Kafka, exactly once, beside Kafka Streams?

W2 of the peers: orders by country and article, counted and summed in ten seconds of event time, over a repartition
topic. Of both outputs the last record of each key and window is compared with a polars computation, counts exactly,
sums of doubles to the ninth digit: rows of one key come from four partitions, in no order. Kafka Streams is given two
hours of grace, since its threads run apart and it would drop what comes late; streamflow needs none.

W3 of the peers: orders and their payments, within five seconds of each other, out of topics that are partitioned by
customer already. Records are those of both topics; both outputs are the polars computation's, record for record.

One broker, the same input topics, alternating runs with topics of their own. Rates run from the first record read to
the end of the last commit.
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

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.model.types import DOUBLE, LONG, STRING, TIMESTAMP_MS, Schema, record_of
from streamflow.testing.kafka_server import KafkaServer

WINDOW_MS, JOIN_MS = 10_000, 5_000
THREADS = 2  # of Kafka Streams
OURS = record_of({"place": STRING, "window_start": TIMESTAMP_MS, "window_end": TIMESTAMP_MS, "cnt": LONG,
                  "total": DOUBLE.optional()})  # fmt: skip
THEIRS = record_of({"country": STRING, "sku": STRING, "window_start": LONG, "cnt": LONG, "total": DOUBLE})

JOINED = schema_from_avro((HERE / "w3" / "joined.avsc").read_text())


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


@lru_cache(maxsize=1)
def wanted_pairs(n: int) -> pl.DataFrame:
    """What the join gives, by order."""
    orders, payments = (pl.concat(made(n)).select(pl.exclude("^@.*$")) for made in (data.orders, data.payments))
    pairs = orders.join(payments, left_on=["customer", "id"], right_on=["customer", "order_id"], suffix="_paid")
    return (
        pairs.filter((pl.col("ts_paid") - pl.col("ts")).abs() <= JOIN_MS)
        .with_columns((pl.col("amount") * pl.col("qty")).alias("total"))
        .rename({"id": "order_id", "ts": "order_ts", "ts_paid": "pay_ts"})
        .select(f.name for f in JOINED.fields)
        .sort("order_id")
    )


def check_pairs(address: str, topic: str, n: int) -> None:
    """Raise unless the topic holds exactly the wanted pairs."""
    got, want = asyncio.run(read(address, topic, JOINED)).sort("order_id"), wanted_pairs(n)
    if not got.select(want.columns).equals(want):
        raise AssertionError(f"{topic}: {got.height} pairs which are not the {want.height} that were expected")


class Keyed(Bench):
    """W2 and W3 on one broker."""

    def windows(self, n: int, runs: int, processes: int) -> dict[str, object]:
        source = self.fill(n, 4, as_json=False)

        def ours(target: str) -> Figures:
            figures = self.run("w2", {"orders": source, "sums": target}, target, n, processes=processes)
            check(self.server.address, target, OURS, n)
            return figures

        def theirs(target: str) -> Figures:
            figures = self.kafka_streams("W2", source, target, n)
            check(self.server.address, target, THEIRS, n)
            return figures

        return {"records": n} | alternate(
            self, runs, 4, {"streamflow": ours, f"kafka streams, {THREADS} threads": theirs}
        )

    def joins(self, n: int, runs: int, processes: int) -> dict[str, object]:
        orders, payments = (self.fill(n, 4, as_json=False, kind=kind) for kind in ("order", "payment"))
        records = n + sum(frame.height for frame in data.payments(n))

        def ours(target: str) -> Figures:
            topics = {"orders": orders, "payments": payments, "joined": target}
            figures = self.run("w3", topics, target, records, processes=processes)
            check_pairs(self.server.address, target, n)
            return figures

        def theirs(target: str) -> Figures:
            figures = self.kafka_streams("W3", f"{orders},{payments}", target, records)
            check_pairs(self.server.address, target, n)
            return figures

        cells = {"streamflow": ours, f"kafka streams, {THREADS} threads": theirs}
        return {"records": records} | alternate(self, runs, 4, cells)

    def kafka_streams(self, workload: str, source: str, target: str, n: int) -> Figures:
        told = self.told(self.kstreams_command(source, target, n, threads=THREADS, workload=workload))
        if told["dropped"] or not told["complete"]:
            raise AssertionError(f"Kafka Streams dropped {told['dropped']} records, or did not come to an end")
        return self.figures(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4_000_000, help="orders")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", choices=["W2", "W3"], help="the other one's figures in the file stay")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "keyed.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": processor()},
        "versions": {"polars": pl.__version__, "kafka": "4.3.1", "kafka streams": "4.3.1"},
        "guarantee": "exactly once on both sides",
    }
    if args.only and args.out.exists():
        report = json.loads(args.out.read_text()) | report
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Keyed(server, folder)
            for workload, ask in {"W2": bench.windows, "W3": bench.joins}.items():
                if args.only in (None, workload):
                    print(workload, flush=True)
                    report[workload] = ask(args.records, args.runs, args.processes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
