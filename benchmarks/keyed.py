"""How fast are a keyed window and a join on Apache Kafka, exactly once, beside Kafka Streams and Flink?

W2 of the peers: orders by country and article, counted and summed in ten seconds of event time, over a repartition
topic. Of both outputs the last record of each key and window is compared with a polars computation, counts exactly,
sums of doubles to the ninth digit: rows of one key come from four partitions, in no order. Kafka Streams is given two
hours of grace, since its threads run apart and it would drop what comes late; streamflow needs none. Flink gives one
record for each window, at its end.

W3 of the peers: orders and their payments, within five seconds of each other, out of topics that are partitioned by
customer already. Records are those of both topics; both outputs are the polars computation's, record for record.

One broker, the same input topics, alternating runs with topics of their own. Rates run from the first record read to
the end of the last commit.
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
import peer
from expected import read
from harness import HERE, Bench, Cells, Figures, alternate, ask, options
from peer import Peer

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.model.types import DOUBLE, LONG, STRING, TIMESTAMP_MS, Schema, record_of

WINDOW_MS, JOIN_MS = 10_000, 5_000
PEERS = (peer.kafka_streams("exactly_once_v2", 2), peer.flink("exactly_once", 2))
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


def windows(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """W2."""
    n = args.records
    source = bench.fill(n, 4)

    def ours(target: str) -> Figures:
        figures = bench.run("w2", {"orders": source, "sums": target}, target, n, processes=args.processes)
        check(bench.server.address, target, OURS, n)
        return figures

    def theirs(which: Peer, target: str) -> Figures:
        figures = bench.peer(which, "W2", source, target, n)
        check(bench.server.address, target, THEIRS, n)
        return figures

    cells: Cells = {"streamflow": ours} | {which.name: partial(theirs, which) for which in PEERS}
    return {"records": n, "settings": _settings()} | alternate(bench, args.runs, 4, cells)


def joins(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """W3, a quarter of the orders."""
    n = args.records // 4
    orders, payments = (bench.fill(n, 4, kind=kind) for kind in ("order", "payment"))
    records = n + sum(frame.height for frame in data.payments(n))

    def ours(target: str) -> Figures:
        topics = {"orders": orders, "payments": payments, "joined": target}
        figures = bench.run("w3", topics, target, records, processes=args.processes)
        check_pairs(bench.server.address, target, n)
        return figures

    def theirs(which: Peer, target: str) -> Figures:
        figures = bench.peer(which, "W3", f"{orders},{payments}", target, records)
        check_pairs(bench.server.address, target, n)
        return figures

    cells: Cells = {"streamflow": ours} | {which.name: partial(theirs, which) for which in PEERS}
    return {"records": records, "settings": _settings()} | alternate(bench, args.runs, 4, cells)


def _settings() -> dict[str, str]:
    return {which.name: which.settings for which in PEERS}


QUESTIONS = {"W2": windows, "W3": joins}

if __name__ == "__main__":
    parser = options(__doc__, "keyed", records=4_000_000, runs=3)
    parser.add_argument("--processes", type=int, default=1)
    ask(QUESTIONS, parser.parse_args())
