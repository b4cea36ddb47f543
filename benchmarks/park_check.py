"""Checks what benchmarks/park.py left on a log: every item once, the items of each key in order; and, with --down, that
nothing of the failing key came out, and everything of the others did.

    python benchmarks/park_check.py LOG RECORDS [--down]

Prints one line of JSON; exit code 1 where something is wrong. It knows nothing of how parking works.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import polars as pl
from park_service import KEY

from streamflow.codecs import CodecSpec, decoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition

KEYS = 1_000
SCHEMA = (Path(__file__).parent / "park" / "item.avsc").read_text()


async def read(log_folder: str, topic: str) -> pl.DataFrame:
    """(k, n) of a topic, in the order of each partition."""
    log, frames = open_log(log_folder), []
    spec = CodecSpec(format="avro", schema=schema_from_avro(SCHEMA), name="bench.Item")
    reader = decoder(spec, reserved=())
    await log.open()
    try:
        for p in range((await log.topics())[topic].partitions):
            at = TopicPartition(topic, p)
            offset, end = await log.offsets(at)
            while offset < end:
                decoded = reader.decode(await log.read(at, offset, size_bytes_max=8 << 20), first_offset=offset)
                frames.append(decoded.frame.select("k", "n", pl.lit(p).alias("p")))
                offset = decoded.end_offset
    finally:
        await log.close()
    return pl.concat(frames)


def verdict(found: pl.DataFrame, records: int, *, down: bool) -> dict[str, object]:
    """What is wrong, by rule; all zero where nothing is."""
    expected = pl.DataFrame({"n": pl.int_range(records, eager=True)}).with_columns(k=pl.col("n") % KEYS)
    if down:
        expected = expected.filter(pl.col("k") != KEY)
    order = pl.col("n").diff().over("k") <= 0
    return {
        "items": found.height,
        "doubled": found.height - found["n"].n_unique(),
        "lost": expected.join(found, on="n", how="anti").height,
        "unexpected": found.join(expected, on="n", how="anti").height,
        "out_of_order": found.filter(order).height,
        "keys_in_two_partitions": found.group_by("k").agg(pl.col("p").n_unique()).filter(pl.col("p") > 1).height,
    }


def check(log_folder: str, records: int, *, down: bool) -> dict[str, object]:
    told = verdict(asyncio.run(read(log_folder, "bench.done")), records, down=down)
    wrong = sum(int(str(told[rule])) for rule in told if rule != "items")
    return told | {"ok": wrong == 0}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("log")
    arguments.add_argument("records", type=int)
    arguments.add_argument("--down", action="store_true")
    given = arguments.parse_args()
    made = check(given.log, given.records, down=given.down)
    print(json.dumps(made))
    sys.exit(0 if made["ok"] else 1)
