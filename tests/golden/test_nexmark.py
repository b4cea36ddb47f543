"""The Nexmark queries against DuckDB: the same rows, however events are ordered, batched and spread over tasks.

Method: the workflows in topologies/nexmark-* run as they are, on an embedded log, over generated events. DuckDB answers
the same questions over the same file. Rows are compared as multisets, times as epoch ms.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl
import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.runtime import source_task
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.nexmark import Nexmark, lines
from streamflow.testing.nexmark_content import KINDS
from streamflow.topology.plan import Topology
from tests.golden.nexmark_answers import (
    AVERAGES_OF_100_000_EVENTS,
    QUERIES,
    ROOT,
    ROWS_OF_100_000_EVENTS,
    Rows,
    answers,
    published,
    queries,
    rows_of,
)
from tests.simulation.running import compiled, run, with_log

STREAMS = {
    "in order": Nexmark(events=10_000),
    "out of order": Nexmark(events=10_000, group=50, delay_probability=0.1, delay_ms=3000),
    "slowest": Nexmark(events=2_000, seed=2, rate=1),  # gaps of exactly ten seconds
}
WINDOWED = ("q5", "q7", "q8", "q11")
JOINED = ("q3", "q4", "q8")


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
    return answers(file).ask(query)


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


CASES = [(q, s) for q in queries() for s in STREAMS if q in WINDOWED or s != "slowest"]


@pytest.mark.parametrize(("query", "stream"), CASES)
def test_a_query_gives_the_rows_that_duckdb_gives(
    query: str, stream: str, files: Mapping[str, Path], tmp_path: Path
) -> None:
    found = ran(query, files[stream], tmp_path)
    assert not found.is_empty()
    assert answers(files[stream]).difference(query, found) == ""


@pytest.mark.parametrize("query", WINDOWED)
def test_many_commits_give_the_same_rows(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a repartition time moves with commits: with two seconds of events in each, late ones would be lost."""
    monkeypatch.setattr(source_task, "_ROWS_MAX", 100)
    stream = Nexmark(events=1_500, rate=50, group=50, delay_probability=0.1, delay_ms=3000)
    file = written(stream, tmp_path / "events.jsonl")
    found = ran(query, file, tmp_path, policies="policies: {commit_interval: 1ms}\n")
    assert answers(file).difference(query, found) == ""


def test_the_questions_to_duckdb_are_those_of_nexmark(tmp_path: Path) -> None:
    file = written(Nexmark(events=100_000), tmp_path / "events.jsonl")
    assert {query: asked(query, file)[1].total() for query in QUERIES} == ROWS_OF_100_000_EVENTS
    assert dict(asked("q4", file)[1]) == dict.fromkeys(AVERAGES_OF_100_000_EVENTS.items(), 1)


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


def given(driver: TopologyDriver) -> pl.DataFrame:
    return pl.concat(b.payload() for b in driver.outputs["result", "records"])


@pytest.mark.parametrize(("events", "step_rows"), [(60, 1), (150, 7), (1_000, 10_000)])
@pytest.mark.parametrize("query", dict.fromkeys([*WINDOWED, *JOINED]))
def test_steps_of_any_size_give_the_same_rows(query: str, events: int, step_rows: int, tmp_path: Path) -> None:
    stream = Nexmark(events=events, rate=2, group=2, delay_probability=0.1, delay_ms=3000)
    if query in JOINED:  # most events are bids: it takes more of them for two others to meet
        stream = replace(stream, events=6 * events, rate=20)
    found = given(driven(query, stream, step_rows=step_rows))
    assert not found.is_empty()
    assert answers(written(stream, tmp_path / "events.jsonl")).difference(query, found) == ""


def test_events_that_nobody_waits_for_are_late(tmp_path: Path) -> None:
    """The same without the four seconds: so the other tests would see it if windows closed too early."""
    stream = Nexmark(events=60, rate=2, group=2, delay_probability=0.1, delay_ms=3000)
    names, wanted = asked("q5", written(stream, tmp_path / "events.jsonl"))
    driver = driven("q5", stream, step_rows=1, grace="0s")
    assert rows_of(given(driver), names) != wanted
