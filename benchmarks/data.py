"""Seeded orders for the benchmarks, made column by column and written to a log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from streamflow.codecs import CodecSpec, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.model.types import ANY
from streamflow.operators.partition import partition_for
from streamflow.sdk.log import TopicSpec

START_MS = 1_700_000_000_000
COUNTRIES = ["DE", "FR", "US", "CN", "BR", "IN"]
HERE = Path(__file__).parent


def orders(n: int, *, seed: int = 7, chunk: int = 100_000) -> Iterator[pl.DataFrame]:
    """Frames of orders, one a millisecond: id, ts, customer (50,000), country, sku (2,000), amount, qty, note; and
    `@key`, `@ts`.
    """
    rng = np.random.default_rng(seed)
    for at in range(0, n, chunk):
        m = min(chunk, n - at)
        index = pl.int_range(at, at + m, eager=True)
        yield pl.DataFrame(
            {
                "i": index,
                "ts": index + START_MS,
                "c": rng.integers(0, 50_000, m),
                "country": pl.Series(COUNTRIES)[rng.integers(0, 6, m)],
                "s": rng.integers(0, 2_000, m),
                "amount": rng.random(m) * 100,
                "qty": rng.integers(1, 10, m).astype(np.int32),
                "has_note": rng.random(m) < 0.5,
            }
        ).select(
            pl.format("o-{}", pl.col("i").cast(pl.String).str.zfill(9)).alias("id"),
            "ts",
            pl.format("c-{}", "c").alias("customer"),
            "country",
            pl.format("sku-{}", "s").alias("sku"),
            "amount",
            "qty",
            pl.when("has_note").then(pl.lit("leave at the door please, thanks")).alias("note"),
            pl.format("c-{}", "c").cast(pl.Binary).alias("@key"),
            pl.col("ts").alias("@ts"),
        )


async def write(address: str, n: int, *, topic: str = "", partitions: int = 4, json: bool = False) -> str:
    """Fill a topic with n orders as Avro or JSON; `bench.orders` or `bench.json-orders` if none is named."""
    topic = topic or ("bench.json-orders" if json else "bench.orders")
    log = open_log(address)
    await log.open()
    if topic not in await log.topics():
        await log.create_topic(TopicSpec(name=topic, partitions=partitions, config={"retention.ms": "-1"}))
    producer = await log.producer(f"fill.{topic}")
    if json:
        encode = encoder(CodecSpec(format="json", schema=ANY, name="Order"))
    else:
        schema = schema_from_avro((HERE / "w1" / "order.avsc").read_text())
        encode = encoder(CodecSpec(format="avro", schema=schema, name="Order"))
    for frame in orders(n):
        target = partition_for(frame["@key"], partitions)
        await producer.begin()
        for p in range(partitions):
            part = frame.filter(pl.Series(target == p))
            if json:
                item = pl.struct(c for c in part.columns if not c.startswith("@")).struct.json_encode()
                part = part.select("@key", "@ts", item.cast(pl.Binary).alias("@item"))
            encoded = encode.encode(part)
            assert not encoded.bad, encoded.bad[:1]
            await producer.append(TopicPartition(topic, p), encoded.batches)
        await producer.commit()
    await producer.close()
    await log.close()
    return topic


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("records", type=int)
    parser.add_argument("--topic", default="")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    asyncio.run(write(args.log, args.records, topic=args.topic, partitions=args.partitions, json=args.json))
