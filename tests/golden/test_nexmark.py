"""The Nexmark queries against DuckDB: the same rows, however events are ordered, batched and spread over tasks.

Method: the workflows in topologies/nexmark-* run as they are, on an embedded log, over generated events. DuckDB answers
the same questions over the same file. Rows are compared as multisets, times as epoch ms.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars as pl
import polars.selectors as cs
import pytest

from streamflow.codecs import decoder
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.runtime import source_task
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.nexmark import Nexmark, lines
from streamflow.testing.nexmark_content import KINDS
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled, run, with_log

ROOT = Path(__file__).parents[2] / "topologies"
Rows = Counter[tuple[Any, ...]]

STREAMS = {
    "in order": Nexmark(events=10_000),
    "out of order": Nexmark(events=10_000, group=50, delay_probability=0.1, delay_ms=3000),
    "slowest": Nexmark(events=2_000, seed=2, rate=1),  # gaps of exactly ten seconds
}
BIDS = """
CREATE VIEW bids AS SELECT bid.* FROM read_json('{file}', format = 'newline_delimited', columns = {{
  bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, "dateTime" BIGINT, extra VARCHAR)', event_type: 'INT'
}}) WHERE event_type = 2;
CREATE VIEW events AS FROM read_json('{file}', format = 'newline_delimited', columns = {{
  arrival: 'BIGINT', event_type: 'INT', bid: 'STRUCT(bidder BIGINT)'
}})
"""
QUERIES = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bids",
    "q1": """
        SELECT auction, bidder, (price::DECIMAL(18, 0) * 0.908)::DECIMAL(18, 3)::VARCHAR AS price, dateTime, extra
        FROM bids""",
    "q2": "SELECT auction, price FROM bids WHERE auction % 123 = 0",
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
    "q12": """
        SELECT bid.bidder AS bidder, count(*) AS bid_count, arrival // 10000 * 10000 AS starttime,
          starttime + 10000 AS endtime FROM events WHERE event_type = 2 GROUP BY ALL""",
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
}
WINDOWED = ("q5", "q7", "q11")
# Of seed 1 at 1,000 events a second, in order or not, as the description of the queries has them.
ROWS_OF_100_000_EVENTS = {"q0": 92_000, "q1": 92_000, "q2": 389, "q5": 54, "q7": 10, "q11": 2909, "q12": 7641}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """JSON lines of each stream, by its name."""
    folder = tmp_path_factory.mktemp("nexmark")
    return {name: written(stream, folder / f"{name}.jsonl") for name, stream in STREAMS.items()}


def written(stream: Nexmark, file: Path) -> Path:
    file.write_bytes(b"".join(lines(stream)))
    return file


def asked(query: str, file: Path) -> tuple[list[str], Rows]:
    """What DuckDB answers: (names of the columns, rows)."""
    with duckdb.connect() as db:
        db.execute(BIDS.format(file=str(file).replace("'", "''")))
        found = db.execute(QUERIES[query])
        return [d[0] for d in found.description], Counter(found.fetchall())


def rows_of(frame: pl.DataFrame, names: list[str]) -> Rows:
    return Counter(frame.select(names).with_columns(cs.datetime().dt.epoch("ms")).rows())


async def published(plan: Topology, topic: str, log: EmbeddedLog) -> pl.DataFrame:
    """All records of a topic of `plan`."""
    reader, frames = decoder(plan.topic(topic).codec, reserved=()), []
    for partition in range((await log.topics())[topic].partitions):
        at = TopicPartition(topic, partition)
        offset, end = await log.offsets(at)
        while offset < end:
            batches = await log.read(at, offset, size_bytes_max=4 << 20)
            decoded = reader.decode(batches, first_offset=offset)
            assert not decoded.bad, decoded.bad[0]
            frames.append(decoded.frame)
            offset = batches[-1].last_offset + 1
    return pl.concat(frames)


async def published_by(plan: Topology, topic: str, log: EmbeddedLog) -> pl.DataFrame:
    report = await run(plan, log)
    assert report.halted is None
    assert report.progress.dead == 0
    return await published(plan, topic, log)


def ran(query: str, file: Path, tmp_path: Path, *, policies: str = "") -> pl.DataFrame:
    """What a query publishes when `file` is its input."""
    folder = shutil.copytree(ROOT / f"nexmark-{query}", tmp_path / query, ignore=shutil.ignore_patterns("input"))
    (folder / "input").mkdir()
    (folder / "input" / "events.jsonl").symlink_to(file)
    plan = compiled((folder / "workflow.yaml").read_text() + policies, folder)
    found: pl.DataFrame = asyncio.run(
        with_log(tmp_path / "log", lambda log: published_by(plan, f"nexmark.{query}", log))
    )
    return found


CASES = [(q, s) for q in QUERIES for s in STREAMS if q in WINDOWED or s != "slowest"]


@pytest.mark.parametrize(("query", "stream"), CASES)
def test_a_query_gives_the_rows_that_duckdb_gives(
    query: str, stream: str, files: Mapping[str, Path], tmp_path: Path
) -> None:
    found = ran(query, files[stream], tmp_path)
    names, wanted = asked(query, files[stream])
    assert wanted
    assert rows_of(found, names) == wanted


@pytest.mark.parametrize("query", WINDOWED)
def test_many_commits_give_the_same_rows(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a repartition time moves with commits: with two seconds of events in each, late ones would be lost."""
    monkeypatch.setattr(source_task, "_ROWS_MAX", 100)
    stream = Nexmark(events=1_500, rate=50, group=50, delay_probability=0.1, delay_ms=3000)
    file = written(stream, tmp_path / "events.jsonl")
    found = ran(query, file, tmp_path, policies="policies: {commit_interval: 1ms}\n")
    names, wanted = asked(query, file)
    assert rows_of(found, names) == wanted


def test_the_questions_to_duckdb_are_those_of_nexmark(tmp_path: Path) -> None:
    file = written(Nexmark(events=100_000), tmp_path / "events.jsonl")
    assert {query: asked(query, file)[1].total() for query in QUERIES} == ROWS_OF_100_000_EVENTS


def driven(query: str, stream: Nexmark, *, step_rows: int, grace: str = "4s") -> TopologyDriver:
    """A driver that has taken all events. It announces only the end of whole files, and reads no event times."""
    folder = ROOT / f"nexmark-{query}"
    text = (folder / "workflow.yaml").read_text()
    text = text.replace("execution: item", "execution: file").replace("grace: 4s", f"grace: {grace}")
    driver = TopologyDriver(compiled(text, folder), nodes=registry(), step_rows=step_rows)
    items = [orjson.loads(line) for line in lines(stream)]
    driver.feed("events", items, times_ms=[item[KINDS[item["event_type"]]]["dateTime"] for item in items])
    assert not driver.dead
    return driver


def given(driver: TopologyDriver, names: list[str]) -> Rows:
    return rows_of(pl.concat(b.payload() for b in driver.outputs["result", "records"]), names)


@pytest.mark.parametrize(("events", "step_rows"), [(60, 1), (150, 7), (1_000, 10_000)])
@pytest.mark.parametrize("query", WINDOWED)
def test_steps_of_any_size_give_the_same_rows(query: str, events: int, step_rows: int, tmp_path: Path) -> None:
    stream = Nexmark(events=events, rate=2, group=2, delay_probability=0.1, delay_ms=3000)
    names, wanted = asked(query, written(stream, tmp_path / "events.jsonl"))
    assert wanted
    assert given(driven(query, stream, step_rows=step_rows), names) == wanted


def test_events_that_nobody_waits_for_are_late(tmp_path: Path) -> None:
    """The same without the four seconds: so the other tests would see it if windows closed too early."""
    stream = Nexmark(events=60, rate=2, group=2, delay_probability=0.1, delay_ms=3000)
    names, wanted = asked("q5", written(stream, tmp_path / "events.jsonl"))
    driver = driven("q5", stream, step_rows=1, grace="0s")
    assert given(driver, names) != wanted
