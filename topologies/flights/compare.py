"""What the run gave, record by record, against a DuckDB query over the same CSV."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import duckdb
import orjson
import polars as pl

from streamflow.codecs import CodecSpec, decoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.workflow.load import load

HERE = Path(__file__).parent
TOPICS = {
    "flights.late": ("late_flight.avsc", "late"),
    "flights.on-time": ("flight_outcome.avsc", "on_time"),
    "flights.cancelled": ("flight_outcome.avsc", "cancelled"),
    "flights.diverted": ("flight_outcome.avsc", "diverted"),
}
QUERY = """
WITH f AS (
  SELECT *, coalesce(c.name, f.carrier) AS carrier_name,
    CASE WHEN dep_time IS NULL THEN 'cancelled' WHEN arr_delay IS NULL THEN 'diverted'
         WHEN arr_delay > 15 THEN 'late' ELSE 'on_time' END AS outcome
  FROM read_csv('{csv}', nullstr='NA', types={{'time_hour': 'TIMESTAMP'}}) f LEFT JOIN carriers c ON c.code = f.carrier
)
SELECT time_hour AT TIME ZONE 'UTC' AS time_hour, carrier, carrier_name, flight::INT AS flight, tailnum, origin, dest,
  distance::INT AS distance, dep_delay::INT AS dep_delay, arr_delay::INT AS arr_delay,
  (dep_time // 100 * 60 + dep_time % 100 - sched_dep_time // 100 * 60 - sched_dep_time % 100 + 2160) % 1440 - 720
    AS left_late_minutes,
  (dep_delay - arr_delay)::BIGINT AS made_up_minutes,
  CASE WHEN arr_delay > 120 THEN 'severe' WHEN arr_delay > 45 THEN 'moderate' ELSE 'slight' END AS severity, outcome
FROM f
"""


def expected(folder: Path) -> pl.DataFrame:
    """All flights with their outcome, as DuckDB sees them."""
    document, _ = load(folder / "workflow.yaml")
    assert document is not None
    carriers = document.vars["carriers"]
    assert isinstance(carriers, dict)
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute("CREATE TABLE carriers (code TEXT, name TEXT)")
        db.executemany("INSERT INTO carriers VALUES (?, ?)", [list(c) for c in carriers.items()])
        csv = str(folder / "input" / "flights.csv").replace("'", "''")
        rows = db.execute(QUERY.format(csv=csv))
        names = [d[0] for d in rows.description]
        return pl.DataFrame(rows.fetchall(), schema=names, orient="row", infer_schema_length=None)


async def got(folder: Path, topic: str, schema_file: str) -> pl.DataFrame:
    """All records of a topic."""
    spec = CodecSpec(format="avro", schema=schema_from_avro((folder / schema_file).read_text()), name="F")
    reader, frames = decoder(spec, reserved=()), []
    log = EmbeddedLog(folder / "log")
    await log.open()
    for partition in range((await log.topics())[topic].partitions):
        offset = 0
        while batches := await log.read(TopicPartition(topic, partition), offset, size_bytes_max=4 << 20):
            decoded = reader.decode(batches, first_offset=offset)
            assert not decoded.bad, decoded.bad[0]
            frames.append(decoded.frame.drop("@position"))
            offset = decoded.end_offset
    await log.close()
    return pl.concat(frames)


def compare(folder: Path) -> int:
    """Print what was compared; returns how many topics differ."""
    wanted, wrong = expected(folder), 0
    for topic, (schema_file, outcome) in TOPICS.items():
        found = asyncio.run(got(folder, topic, schema_file))
        by = ["time_hour", "carrier", "flight", "origin", "dest", "tailnum"]
        mine = found.sort(by, nulls_last=True)
        theirs = wanted.filter(pl.col("outcome") == outcome).select(
            pl.col(n).cast(t) if n != "time_hour" else pl.col(n).dt.convert_time_zone("UTC").cast(t)
            for n, t in mine.schema.items()
        )
        theirs = theirs.sort(by, nulls_last=True)
        same = mine.equals(theirs)
        wrong += not same
        print(f"{topic:<20} {found.height:>8,} records, DuckDB {theirs.height:>8,}: {'equal' if same else 'DIFFERENT'}")
    return wrong


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(orjson.dumps({"folder": str(target)}).decode())
    sys.exit(compare(target))
