"""How fast is a stream enriched by a table on Apache Kafka, exactly once, beside Kafka Streams' join of both?

W4: each order looks up its customer, of whom there are 50,000; both topics are partitioned by customer. Both outputs
are polars' join, record for record.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import lru_cache
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import data
import peer
from expected import read
from harness import HERE, Bench, Cells, Figures, alternate, ask, options

from streamflow.codecs.avrotypes import schema_from_avro

CUSTOMERS = 50_000
PEER = peer.kafka_streams("exactly_once_v2", 2)


@lru_cache(maxsize=1)
def wanted(n: int) -> pl.DataFrame:
    table = next(data.customers(CUSTOMERS)).select("customer", "name", "level")
    return pl.concat(data.orders(n)).select("id", "customer", "amount").join(table, on="customer").sort("id")


def enrich(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    n = args.records
    orders, table = bench.fill(n, 4), bench.fill(CUSTOMERS, 4, kind="customer")
    schema = schema_from_avro((HERE / "w4" / "named.avsc").read_text())

    def check(target: str) -> None:
        got, want = asyncio.run(read(bench.server.address, target, schema)).sort("id"), wanted(n)
        if not got.select(want.columns).equals(want):
            raise AssertionError(f"{target}: {got.height} orders which are not the {want.height} that were expected")

    def ours(target: str) -> Figures:
        topics = {"orders": orders, "customers": table, "named": target}
        figures = bench.run("w4", topics, target, n + CUSTOMERS)
        check(target)
        return figures

    def theirs(target: str) -> Figures:
        figures = bench.peer(PEER, "W4", f"{orders},{table}", target, n + CUSTOMERS)
        check(target)
        return figures

    cells: Cells = {"streamflow": ours, PEER.name: theirs}
    settings = {PEER.name: PEER.settings}
    return {"records": n + CUSTOMERS, "settings": settings} | alternate(bench, args.runs, 4, cells)


if __name__ == "__main__":
    ask({"W4": enrich}, options(__doc__, "enrich", records=2_000_000, runs=3).parse_args())
