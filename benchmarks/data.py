"""Seeded orders and their payments for the benchmarks, made column by column and written to a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
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
METHODS = ["card", "transfer", "wallet"]
PAID, DELAY_MS_MAX = 0.8, 2_000  # part of the orders that is paid, and how soon
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


def payments(n: int, *, seed: int = 7, chunk: int = 100_000) -> Iterator[pl.DataFrame]:
    """Frames of payments of n orders, for 80 % of them, 0 to 2,000 ms later, in the order of their own times: order_id,
    ts, customer, method, paid; and `@key`, `@ts`.
    """
    rng = np.random.default_rng(seed + 1)
    at, waiting = 0, None
    for frame in orders(n, seed=seed, chunk=chunk):
        m = frame.height
        made = frame.select(
            pl.col("id").alias("order_id"),
            pl.col("ts") + pl.Series(rng.integers(0, DELAY_MS_MAX + 1, m)),
            "customer",
            pl.Series("method", METHODS)[np.arange(at, at + m) % 3],
            (pl.col("amount") * pl.col("qty")).alias("paid"),
            "@key",
        ).filter(pl.Series(rng.random(m) < PAID))
        at += m
        made = made if waiting is None else pl.concat([waiting, made])
        now = pl.col("ts") < START_MS + (at if at < n else at + DELAY_MS_MAX + 1)
        waiting = made.filter(~now)
        yield made.filter(now).sort("ts", maintain_order=True).with_columns(pl.col("ts").alias("@ts"))


def readings(n: int, *, seed: int = 7, chunk: int = 100_000, payload: int = 0) -> Iterator[pl.DataFrame]:
    """Frames of readings: sensor (1,000), at, value, unit and, where asked for, a payload of so many characters of
    which half are random; and `@key`, `@ts`. Without it a record is some 50 bytes with its key.
    """
    rng = np.random.default_rng(seed)
    for at in range(0, n, chunk):
        m = min(chunk, n - at)
        sensor = pl.format("s-{}", pl.Series("s", rng.integers(0, 1_000, m)))
        frame = pl.select(
            sensor.alias("sensor"),
            (pl.int_range(at, at + m) + START_MS).alias("at"),
            pl.Series("value", rng.random(m) * 100),
            pl.lit("degC").alias("unit"),
        )
        if payload:
            drawn = [bytes(b).hex() for b in rng.integers(0, 256, (m, payload // 4), dtype=np.uint8)]
            frame = frame.with_columns(
                (pl.Series("payload", drawn) + pl.lit("." * (payload - payload // 4 * 2))).alias("payload")
            )
        yield frame.with_columns(pl.col("sensor").cast(pl.Binary).alias("@key"), pl.col("at").alias("@ts"))


def customers(n: int) -> Iterator[pl.DataFrame]:
    """One frame of n customers, all there before the first order: customer, name, level; and `@key`, `@ts`."""
    index = pl.int_range(0, n, eager=True)
    yield pl.select(
        pl.format("c-{}", index).alias("customer"),
        pl.format("Customer number {}", index).alias("name"),
        (index % 5).cast(pl.Int32).alias("level"),
        pl.format("c-{}", index).cast(pl.Binary).alias("@key"),
        pl.lit(START_MS - 1).alias("@ts"),
    )


LARGE = 10_000  # characters of the payload of a large reading
# What topics are filled with: frames of n records, and their schema.
KINDS: dict[str, tuple[Callable[[int], Iterator[pl.DataFrame]], str]] = {
    "order": (orders, "w3/order.avsc"),
    "payment": (payments, "w3/payment.avsc"),
    "customer": (customers, "w4/customer.avsc"),
    "small": (readings, "w1_small/reading.avsc"),
    "large": (partial(readings, payload=LARGE, chunk=5_000), "w1_large/reading.avsc"),
}


async def write(
    address: str, n: int, *, kind: str = "order", topic: str = "", partitions: int = 4, json: bool = False
) -> str:
    """Fill a topic with n records of a kind as Avro, or orders as JSON. Unnamed: `bench.orders`, …"""
    topic = topic or f"bench.{'json-' if json else ''}{kind}s"
    log = open_log(address)
    await log.open()
    if topic not in await log.topics():
        await log.create_topic(TopicSpec(name=topic, partitions=partitions, config={"retention.ms": "-1"}))
    producer = await log.producer(f"fill.{topic}")
    if json:
        encode = encoder(CodecSpec(format="json", schema=ANY, name="Order"))
    else:
        schema = schema_from_avro((HERE / KINDS[kind][1]).read_text())
        encode = encoder(CodecSpec(format="avro", schema=schema, name=kind.capitalize()))
    for frame in KINDS[kind][0](n):
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
    parser.add_argument("orders", type=int)
    parser.add_argument("--kind", choices=list(KINDS), default="order")
    parser.add_argument("--topic", default="")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    asyncio.run(
        write(args.log, args.orders, kind=args.kind, topic=args.topic, partitions=args.partitions, json=args.json)
    )
