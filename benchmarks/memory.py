"""Does a worker's memory stay flat? One worker on Kafka under a steady load for ten minutes: its size by minute."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
import data
import orjson
import polars as pl
from kafka import HERE, STREAMFLOW, Bench, processor

from streamflow.codecs import CodecSpec, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.testing.kafka_server import KafkaServer

_PORTION = 20_000  # records that are written at once


async def feed(address: str, topic: str, per_s: int, seconds: float) -> int:
    """Write orders to the topic's partitions in turn at a steady rate; how many."""
    log = open_log(address)
    await log.open()
    producer = await log.producer(f"feed.{topic}")
    schema = schema_from_avro((HERE / "w1" / "order.avsc").read_text())
    frame = pl.concat(data.orders(_PORTION, chunk=_PORTION))
    encoded = encoder(CodecSpec(format="avro", schema=schema, name="Order")).encode(frame)
    started, written, turn = time.monotonic(), 0, 0
    while (now := time.monotonic() - started) < seconds:
        if written > now * per_s:
            await asyncio.sleep(written / per_s - now)
        await producer.begin()
        await producer.append(TopicPartition(topic, turn % 4), encoded.batches)
        await producer.commit()
        turn, written = turn + 1, written + _PORTION
    await producer.close()
    await log.close()
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-s", type=int, default=150_000, help="records a second")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamflow-bench-"))
    try:
        with KafkaServer(folder / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
            bench = Bench(server, folder)
            source, target = bench.fill(10_000, 4, as_json=False), bench.output(4)
            work = folder / "work"
            shutil.copytree(HERE / "w1", work)
            text = re.sub(r"workflow: \S+", "workflow: memory", (work / "workflow.yaml").read_text())
            (work / "workflow.yaml").write_text(text.replace("bench.orders", source).replace("bench.priced", target))
            worker = subprocess.Popen(
                [STREAMFLOW, "worker", "workflow.yaml", "--log", server.address, "--metrics", "m.json"],
                cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            resident = psutil.Process(worker.pid)
            feeder = subprocess.Popen(
                [sys.executable, __file__, "--feed", server.address, source, str(args.per_s), str(args.minutes * 60)]
            )
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
    by_minute = [max(rss_mb[at : at + 60]) for at in range(0, len(rss_mb), 60)]
    print(f"{told['records_in']:,} records in {seconds:.0f} s, lag at the end {told['lag']:,}")
    print(f"resident, greatest of each minute: {', '.join(f'{mb:.0f}' for mb in by_minute)} MB")
    report = {
        "processor": processor(), "records": told["records_in"], "seconds": seconds, "lag_at_end": told["lag"],
        "rss_mb_max_by_minute": by_minute, "peak_mb": told["memory_peak_bytes"] / 1e6,
    }  # fmt: skip
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feed"]:
        asyncio.run(feed(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
    else:
        main()
