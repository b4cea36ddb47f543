"""Does a worker's memory stay flat? One worker on Kafka under a steady load for ten minutes: its size by minute.

w1 keeps nothing, w2 and w3 are the keyed window and the join of `keyed.py`: event time goes on, windows close and rows
leave, as in a stream that never ends.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
import data
import orjson
import polars as pl
from harness import HERE, STREAMFLOW, Bench, processor

from streamflow.codecs import CodecSpec, Encoder, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.operators.partition import partition_for
from streamflow.sdk.log import RecordBatch
from streamflow.testing.kafka_server import KafkaServer

PARTITIONS = 4
_PORTION = 20_000  # orders that are written at once
_EVER = 10**12  # orders
# Topics that a workflow reads, what it writes, and records a second that leave the machine room for the broker.
WORKLOADS = {
    "w1": (("order",), "priced", 150_000),
    "w2": (("order",), "sums", 75_000),
    "w3": (("order", "payment"), "joined", 75_000),
}
Portion = dict[TopicPartition, Sequence[RecordBatch]]


def same_orders(topic: str) -> Iterator[tuple[int, Portion]]:
    """One portion of orders again and again, to the topic's partitions in turn: nothing is kept of them."""
    encoded = _encoder("order").encode(next(data.orders(_PORTION, chunk=_PORTION))).batches
    for turn in itertools.count():
        yield _PORTION, {TopicPartition(topic, turn % PARTITIONS): encoded}


def orders_that_go_on(topics: Sequence[str]) -> Iterator[tuple[int, Portion]]:
    """Orders, and their payments where there is a second topic, by customer; event time goes on by 1 ms an order."""
    encoders = [_encoder(kind) for kind in ("order", "payment")]
    made = [kind(_EVER, chunk=_PORTION) for kind in (data.orders, data.payments)]
    for frames in zip(*made[: len(topics)], strict=True):
        portion: Portion = {}
        for topic, frame, encode in zip(topics, frames, encoders, strict=False):
            target = partition_for(frame["@key"], PARTITIONS)
            for p in range(PARTITIONS):
                portion[TopicPartition(topic, p)] = encode.encode(frame.filter(pl.Series(target == p))).batches
        yield sum(frame.height for frame in frames), portion


def _encoder(kind: str) -> Encoder:
    schema = schema_from_avro((HERE / "w3" / f"{kind}.avsc").read_text())
    return encoder(CodecSpec(format="avro", schema=schema, name=kind.capitalize()))


async def feed(address: str, workload: str, topics: Sequence[str], per_s: int, seconds: float) -> None:
    """Write records at a steady rate."""
    log = open_log(address)
    await log.open()
    producer = await log.producer(f"feed.{workload}")
    started, written = time.monotonic(), 0
    for count, portion in same_orders(*topics) if workload == "w1" else orders_that_go_on(topics):
        if (now := time.monotonic() - started) >= seconds:
            break
        if written > now * per_s:
            await asyncio.sleep(written / per_s - now)
        await producer.begin()
        for place, batches in portion.items():
            await producer.append(place, batches)
        await producer.commit()
        written += count
    await producer.close()
    await log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, default="w1")
    parser.add_argument("--per-s", type=int, help="records a second")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.json", help="the others' figures stay")
    args = parser.parse_args()
    kinds, out, usual_per_s = WORKLOADS[args.workload]
    per_s = args.per_s or usual_per_s
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Bench(server, folder)
            sources, target = [bench.output(PARTITIONS) for _ in kinds], bench.output(PARTITIONS)
            topics = {f"{kind}s": source for kind, source in zip(kinds, sources, strict=True)} | {out: target}
            work = bench.copy(args.workload, topics, "memory")
            worker = subprocess.Popen(
                [STREAMFLOW, "worker", "workflow.yaml", "--log", server.address, "--metrics", "m.json"],
                cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            resident = psutil.Process(worker.pid)
            told_feeder = [server.address, args.workload, str(per_s), str(args.minutes * 60), *sources]
            feeder = subprocess.Popen([sys.executable, __file__, "--feed", *told_feeder])
            rss_mb: list[float] = []
            started = time.monotonic()
            while feeder.poll() is None:
                time.sleep(1)
                rss_mb.append(resident.memory_info().rss / 1e6)
                if len(rss_mb) % 60 == 0:
                    print(f"  minute {len(rss_mb) // 60}: {rss_mb[-1]:.0f} MB", flush=True)
            seconds = time.monotonic() - started
            told = orjson.loads((work / "m.json").read_bytes())
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if feeder.returncode:
        raise RuntimeError(f"what feeds ended with {feeder.returncode}")
    by_minute = [max(rss_mb[at : at + 60]) for at in range(0, len(rss_mb), 60)]
    print(f"{told['records_in']:,} records in, {told['records_out']:,} out, {seconds:.0f} s; lag {told['lag']:,}")
    print(f"resident, greatest of each minute: {', '.join(f'{mb:.0f}' for mb in by_minute)} MB")
    report = json.loads(args.out.read_text()) if args.out.exists() else {}
    report[args.workload] = {
        "processor": processor(), "records": told["records_in"], "seconds": seconds, "lag_at_end": told["lag"],
        "rss_mb_max_by_minute": by_minute, "peak_mb": told["memory_peak_bytes"] / 1e6,
    }  # fmt: skip
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feed"]:
        asyncio.run(feed(sys.argv[2], sys.argv[3], sys.argv[6:], int(sys.argv[4]), float(sys.argv[5])))
    else:
        main()
