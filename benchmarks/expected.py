"""What the reference workload must give: computed by polars over the same orders, compared record by record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

import data
import polars as pl

from streamflow.codecs import CodecSpec, decoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.model.types import Schema
from streamflow.sdk.log import RecordBatch

HERE = Path(__file__).parent


@lru_cache(maxsize=4)
def priced(n: int) -> pl.DataFrame:
    """The priced orders, by id."""
    return (
        pl.concat(data.orders(n))
        .filter(pl.col("amount") > 20)
        .with_columns((pl.col("amount") * pl.col("qty")).alias("total"))
        .select(
            "id", "ts", "customer", "country", "total",
            pl.when(pl.col("total") > 500).then(pl.lit("gold")).otherwise(pl.lit("std")).alias("tier"),
        )
        .sort("id")
    )  # fmt: skip


@lru_cache(maxsize=4)
def priced_count(n: int) -> int:
    """How many orders are priced; never holds more than a frame of them."""
    return sum(frame.filter(pl.col("amount") > 20).height for frame in data.orders(n))


async def counted(address: str, topic: str) -> int:
    """How many committed records a topic holds."""
    return sum([batch.count async for _, _, batches in _read(address, topic) for batch in batches])


async def check(address: str, topic: str, n: int, *, as_json: bool) -> None:
    """Raise unless the topic holds exactly the priced orders."""
    schema = schema_from_avro((HERE / "w1" / "priced.avsc").read_text())
    wanted = priced(n)
    got = (await read(address, topic, schema, as_json=as_json)).sort("id").select(wanted.columns)
    if got.height != wanted.height:
        raise AssertionError(f"{got.height} records out, {wanted.height} expected")
    if not got.equals(wanted.cast(dict(got.schema))):
        raise AssertionError("outputs differ")


async def read(address: str, topic: str, schema: Schema, *, as_json: bool = False) -> pl.DataFrame:
    """All records of a topic, partition by partition in order. Raises for one that does not decode."""
    reader = decoder(CodecSpec(format="json" if as_json else "avro", schema=schema, name="P"), reserved=())
    frames = []
    async for place, at, batches in _read(address, topic):
        decoded = reader.decode(batches, first_offset=at)
        if decoded.bad:
            raise AssertionError(f"{place}: {decoded.bad[0]}")
        frames.append(decoded.frame.drop("@position"))
    return pl.concat(frames)


async def _read(address: str, topic: str) -> AsyncIterator[tuple[TopicPartition, int, list[RecordBatch]]]:
    """(place, offset from which was read, committed batches) to the ends of all partitions."""
    log = open_log(address)
    await log.open()
    try:
        for p in range((await log.topics())[topic].partitions):
            at, place = 0, TopicPartition(topic, p)
            while batches := await log.read(place, at, size_bytes_max=4 << 20):
                yield place, at, batches
                at = batches[-1].last_offset + 1
    finally:
        await log.close()
