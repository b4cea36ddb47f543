"""What DuckDB answers to the Nexmark queries, and what a workflow's records differ by.

Shared by the golden tests, the runs on Kafka and the benchmark. Rows are compared as multisets of the columns that the
query names, times as epoch ms. Of an update stream the last row of each key counts.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs

from streamflow.codecs import decoder
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology

ROOT = Path(__file__).parents[2] / "topologies"
Rows = Counter[tuple[Any, ...]]

# Of each event only what some query asks for is read.
EVENTS = """
CREATE TABLE events AS SELECT * FROM read_json('{file}', format = 'newline_delimited', columns = {{
  arrival: 'BIGINT', event_type: 'INT',
  person: 'STRUCT(id BIGINT, name VARCHAR, city VARCHAR, state VARCHAR, "dateTime" BIGINT)',
  auction: 'STRUCT(id BIGINT, "dateTime" BIGINT, expires BIGINT, seller BIGINT, category BIGINT)',
  bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, "dateTime" BIGINT, extra VARCHAR)'
}});
CREATE VIEW persons AS SELECT arrival, person.* FROM events WHERE event_type = 0;
CREATE VIEW auctions AS SELECT arrival, auction.* FROM events WHERE event_type = 1;
CREATE VIEW bids AS SELECT arrival, bid.* FROM events WHERE event_type = 2;
"""
QUERIES = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bids",
    "q1": """
        SELECT auction, bidder, (price::DECIMAL(18, 0) * 0.908)::DECIMAL(18, 3)::VARCHAR AS price, dateTime, extra
        FROM bids""",
    "q2": "SELECT auction, price FROM bids WHERE auction % 123 = 0",
    "q3": """
        SELECT name, city, state, auctions.id FROM auctions JOIN persons ON seller = persons.id
        WHERE category = 10 AND state IN ('OR', 'ID', 'CA')""",
    "q4": """
        WITH finals AS (
          SELECT auctions.id, category, max(price) AS final FROM auctions JOIN bids ON auction = auctions.id
            AND bids.dateTime BETWEEN auctions.dateTime AND expires
          GROUP BY ALL
        )
        SELECT category, (sum(final) // count(*))::BIGINT AS final FROM finals GROUP BY category""",
    "q5": """
        WITH counts AS (
          SELECT auction, (dateTime // 2000 - k) * 2000 AS starttime, count(*) AS num
          FROM bids, range(5) AS hops(k) GROUP BY ALL
        )
        SELECT auction, num, starttime, starttime + 10000 AS endtime FROM counts
        QUALIFY num = max(num) OVER (PARTITION BY starttime)""",
    "q7": """
        SELECT auction, bidder, price, dateTime, extra FROM bids
        QUALIFY price = max(price) OVER (PARTITION BY dateTime // 10000)""",
    "q8": """
        SELECT DISTINCT persons.id, name, persons.dateTime // 10000 * 10000 AS starttime
        FROM persons JOIN auctions ON seller = persons.id
          AND auctions.dateTime // 10000 = persons.dateTime // 10000""",
    "q11": """
        WITH apart AS (
          SELECT bidder, dateTime,
            coalesce(dateTime - lag(dateTime) OVER w > 10000, TRUE)::INT AS begins FROM bids
          WINDOW w AS (PARTITION BY bidder ORDER BY dateTime)
        ), numbered AS (
          SELECT *, sum(begins) OVER (PARTITION BY bidder ORDER BY dateTime ROWS UNBOUNDED PRECEDING) AS session
          FROM apart
        )
        SELECT bidder, count(*) AS bid_count, min(dateTime) AS starttime, max(dateTime) + 10000 AS endtime
        FROM numbered GROUP BY bidder, session""",
    # For a clock that reads `arrival`. By the wall clock only the sums are known: see `difference`.
    "q12": """
        SELECT bidder, count(*) AS bid_count, arrival // 10000 * 10000 AS starttime, starttime + 10000 AS endtime
        FROM bids GROUP BY ALL""",
}
# The keys of update streams.
UPDATES = {"q4": ["category"]}
BY_THE_CLOCK = ("q12",)
WINDOW_MS = 10_000
# Of seed 1 at 1,000 events a second, in order or (but for q12) not, as the description of the queries has them.
ROWS_OF_100_000_EVENTS = {
    "q0": 92_000, "q1": 92_000, "q2": 389, "q3": 652,
    "q4": 5, "q5": 54, "q7": 10, "q8": 289, "q11": 2_909, "q12": 7_641,
}  # fmt: skip
AVERAGES_OF_100_000_EVENTS = {10: 29_019_472, 11: 28_586_268, 12: 30_198_757, 13: 29_027_960, 14: 28_382_223}


def queries() -> list[str]:
    """The queries that are here as workflows, in the order of their numbers."""
    found = [folder.parent.name.removeprefix("nexmark-") for folder in ROOT.glob("nexmark-*/workflow.yaml")]
    return sorted(found, key=lambda query: int(query[1:]))


class Answers:
    """DuckDB over one file of events in JSON lines, which it reads once."""

    def __init__(self, file: Path) -> None:
        self._db = duckdb.connect()
        self._db.execute(EVENTS.format(file=str(file).replace("'", "''")))

    def ask(self, query: str) -> tuple[list[str], Rows]:
        """(names of the columns, rows)."""
        found = self._db.execute(QUERIES[query])
        return [d[0] for d in found.description], Counter(found.fetchall())

    def difference(self, query: str, found: pl.DataFrame, *, own_clock: bool = False) -> str:
        """What is wrong with the records that a workflow published, "" if nothing is.

        `found`: in the order of each partition; times are datetimes or epoch ms. `own_clock`: events came when the
        machine's clock said, not when they say.
        """
        if found.is_empty():
            return "nothing was published"
        if own_clock and query in BY_THE_CLOCK:
            return self._difference_by_the_clock(query, found)
        names, wanted = self.ask(query)
        if query in UPDATES:
            found = found.unique(UPDATES[query], keep="last", maintain_order=True)
        return difference(rows_of(found, names), wanted)

    def _difference_by_the_clock(self, query: str, found: pl.DataFrame) -> str:
        """Windows lie on the grid, none comes twice, and the counts of a bidder add up to its bids."""
        names, wanted = self.ask(query)
        rows = found.select(names).with_columns(cs.datetime().dt.epoch("ms"))
        starts, ends = rows["starttime"], rows["endtime"]
        if (starts % WINDOW_MS != 0).any() or (ends != starts + WINDOW_MS).any():
            return f"windows that do not lie on the grid of {WINDOW_MS} ms"
        if rows.select("bidder", "starttime").is_duplicated().any():
            return "several rows for one bidder and window"
        bids: Rows = Counter()
        for (bidder, count, _, _), times in wanted.items():
            bids[bidder,] += count * times
        counted = rows.group_by("bidder").agg(pl.col("bid_count").sum())
        return difference(Counter({(bidder,): count for bidder, count in counted.iter_rows()}), bids)


def difference(found: Rows, wanted: Rows) -> str:
    """In words, with one example of each kind; "" where both are the same multiset."""
    missing, more = wanted - found, found - wanted
    doubled = Counter({row: times for row, times in more.items() if row in wanted})
    other = more - doubled
    return ", ".join(
        f"{rows.total():,} {what}, such as {next(iter(rows))}"
        for what, rows in (("missing", missing), ("too often", doubled), ("that should not be", other))
        if rows
    )


def rows_of(frame: pl.DataFrame, names: list[str]) -> Rows:
    return Counter(frame.select(names).with_columns(cs.datetime().dt.epoch("ms")).rows())


async def published(plan: Topology, topic: str, log: Log) -> pl.DataFrame:
    """All records of a topic of `plan`, in the order of each partition."""
    reader, frames = decoder(plan.topic(topic).codec, reserved=()), []
    for partition in range((await log.topics())[topic].partitions):
        at = TopicPartition(topic, partition)
        offset, end = await log.offsets(at)
        while offset < end:
            batches = await log.read(at, offset, size_bytes_max=4 << 20)
            if not batches:
                break  # the rest are ends of transactions
            decoded = reader.decode(batches, first_offset=offset)
            assert not decoded.bad, decoded.bad[0]
            frames.append(decoded.frame)
            offset = batches[-1].last_offset + 1
    return pl.concat(frames)


@cache
def answers(file: Path) -> Answers:
    """The same for the same file: it must not change."""
    return Answers(file)
