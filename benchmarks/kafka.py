"""How fast is the reference workload W1 on Apache Kafka, exactly once, beside every peer and beside the limit?

W1: decode an Avro order, keep those above an amount, compute, encode under the same key. Rates run from the first
record read to the end of the last commit, the same for each; CPU is that of the whole process from its start on, and
from the first record on. `limit` is what fetching and appending costs when nothing is decoded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import peer
from harness import Bench, alternate, ask, options
from peer import Peer

# Peers whose whole run is to stay within the minute are given less of the same orders.
SLOWER = {peer.CONFLUENT: 4, peer.AIOKAFKA: 4, peer.BYTEWAX: 4, peer.QUIX: 8, peer.FAUST: 20}


def jvm(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """streamflow, Kafka Streams and Flink, on 4 partitions."""
    return _beside(bench, args, args.records, [
        peer.kafka_streams("exactly_once_v2", 2), peer.kafka_streams("exactly_once_v2", 1),
        peer.kafka_streams("at_least_once", 2), peer.kafka_streams("at_least_once", 1),
        peer.flink("exactly_once", 2), peer.flink("exactly_once", 1),
    ])  # fmt: skip


def python(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """streamflow and everything that is Python, each with as many orders as it is done with in reasonable time."""
    return _beside(bench, args, args.records, [*SLOWER])


def limit(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """streamflow beside a copy without decoding."""
    n = args.records
    source = bench.fill(n, 4)
    return {"records": n} | alternate(bench, args.runs, 4, {
        "streamflow": lambda out: bench.streamflow(source, out, n),
        peer.LIMIT.name: lambda out: bench.peer(peer.LIMIT, "copy", source, out, n),
    })  # fmt: skip


def partitions(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """1, 4 and 16 partitions."""
    found: dict[str, object] = {"records": args.records}
    for count in (1, 4, 16):
        source = bench.fill(args.records, count)
        theirs = peer.kafka_streams("exactly_once_v2", 2)
        found[str(count)] = alternate(bench, args.runs, count, {
            "streamflow": lambda out, source=source: bench.streamflow(source, out, args.records),
            theirs.name: bench.priced_by(theirs, source, args.records),
        })  # fmt: skip
    return found


def untyped(bench: Bench, args: argparse.Namespace) -> dict[str, object]:
    """Untyped JSON, a quarter of the records."""
    n = args.records // 4
    source = bench.fill(n, 4, as_json=True)
    return {"records": n} | alternate(bench, args.runs, 4, {
        "streamflow": lambda out: bench.streamflow(source, out, n, as_json=True),
    })  # fmt: skip


def _beside(bench: Bench, args: argparse.Namespace, n: int, peers: list[Peer]) -> dict[str, object]:
    records = {which: n // SLOWER.get(which, 1) for which in peers}
    ours = bench.fill(n, 4)
    cells = {"streamflow": lambda out: bench.streamflow(ours, out, n)}
    cells |= {which.name: bench.priced_by(which, bench.fill(m, 4), m) for which, m in records.items()}
    said = {"records": {which.name: m for which, m in records.items()} | {"streamflow": n}}
    return said | {"settings": {which.name: which.settings for which in peers}} | alternate(bench, args.runs, 4, cells)


QUESTIONS = {"jvm": jvm, "python": python, "limit": limit, "partitions": partitions, "json": untyped}

if __name__ == "__main__":
    ask(QUESTIONS, options(__doc__, "kafka", records=4_000_000, runs=3).parse_args())
