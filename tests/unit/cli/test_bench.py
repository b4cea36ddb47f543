"""`streamflow bench`: figures of a workflow, with topics of its own; what it refuses, and what it compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamflow.bench.feed import Feed, Recipe
from streamflow.bench.page import page
from streamflow.bench.report import compared, text
from streamflow.codecs.registry import FileRegistry
from tests.simulation.running import compiled

SCHEMA = {"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"}, {"name": "amount", "type": "double"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "note", "type": ["null", "string"]},
]}  # fmt: skip
WORKFLOW = """
workflow: small
nodes:
  orders: {type: event, topic: orders, schema: order.avsc}
  large: {type: filter, when: amount > 500}
  out: {type: publish, topic: large, schema: order.avsc}
connections: [orders -> large -> out]
policies: {partitions: 2}
"""


@pytest.fixture
def file(cli: Any) -> Path:
    Path("order.avsc").write_text(json.dumps(SCHEMA))
    Path("workflow.yaml").write_text(WORKFLOW)
    return Path("workflow.yaml")


def test_a_workflow_is_measured_and_leaves_nothing(cli: Any, file: Path) -> None:
    found = cli.json("bench", file, "--records", 20_000, "--seconds", 1, "--key", "id", "--html", "page.html")
    rate = found["throughput"]
    assert 8_000 < rate["records_out"] < 12_000
    assert rate["records_per_s"] > 0
    assert rate["dead_letters"] == 0
    assert sum(rate["steps"].values()) >= 2
    assert {"large", "out", "(decode)", "(encode)", "(commit)"} <= set(rate["spent_seconds"])
    late = found["latency"]
    assert 0 < late["p50"] <= late["p95"] <= late["p99"] <= late["max"] < 60_000
    assert late["records"] > 100
    assert "<svg" in Path("page.html").read_text()
    assert not Path(".streamflow").exists()
    assert (
        cli.json("bench", file, "--records", 20_000, "--seconds", 0)["throughput"]["records_out"] == rate["records_out"]
    )


def test_on_a_log_of_ones_own_the_topics_have_other_names_and_go(cli: Any, file: Path) -> None:
    Path("one.jsonl").write_text('{"id": "a", "amount": 900.0, "at": "2024-01-01T00:00:00.000Z", "note": null}\n')
    cli("send", "orders", "one.jsonl", "--schema", "order.avsc")
    before = cli.json("topics")
    found = cli.json(
        "bench", file, "--records", 1_000, "--seconds", 0, "--log", ".streamflow/log", "--data", "one.jsonl"
    )
    assert found["throughput"]["records_out"] == 1_000
    assert cli.json("topics") == before


def test_the_same_seed_makes_the_same_records(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(json.dumps(SCHEMA))
    (topic,) = (t for t in compiled(WORKFLOW, tmp_path).topics if t.kind == "source")

    def made(**recipe: Any) -> Any:
        feed = Feed(topic, 2, Recipe(**recipe), FileRegistry(tmp_path / "schemas"), None)
        return list(feed.chunks(500))

    assert made(seed=1, key="id") == made(seed=1, key="id")
    assert made(seed=1, key="id") != made(seed=2, key="id")
    assert made(seed=1, skew=1.2, key="id") != made(seed=1, key="id")


def test_event_time_is_that_of_the_records(cli: Any, file: Path) -> None:
    """Of a trigger whose time is a number of milliseconds as well; of one whose time is computed nothing is told."""
    schema = {"type": "record", "name": "E", "fields": [{"name": "ms", "type": "long"}, {"name": "n", "type": "long"}]}
    Path("order.avsc").write_text(json.dumps(schema))
    text = WORKFLOW.replace("amount > 500", "n >= 0").replace("schema: order.avsc}", "schema: order.avsc, time: ms}", 1)
    Path("timed.yaml").write_text(text)
    late = cli.json("bench", "timed.yaml", "--records", 1_000, "--seconds", 1)["latency"]
    assert 0 < late["p50"] < 60_000
    Path("timed.yaml").write_text(text.replace("time: ms", "time: ms + 5"))
    assert cli.json("bench", "timed.yaml", "--records", 1_000, "--seconds", 1)["latency"] == {}


@pytest.mark.parametrize(("options", "code", "said"), [
    (("--key", "ident"), 2, "--key 'ident' is no field of topic 'orders'"),
    (("--guarantee", "twice"), 2, "neither exactly_once nor at_least_once"),
    (("--compare", "none.json"), 2, "cannot be read"),
    (("--compare", "order.avsc"), 2, "is no result of this command"),
    (("--data", "none.jsonl"), 2, "cannot be read"),
    (("--data", "bad.jsonl"), 2, "--data, line 2"),
    (("--html", "nowhere/page.html"), 2, "there is no folder"),
    (("--records", "0"), 2, "--records"),
])  # fmt: skip
def test_what_is_asked_wrongly(cli: Any, file: Path, options: tuple[str, ...], code: int, said: str) -> None:
    Path("bad.jsonl").write_text(
        '{"id": "a", "amount": 1.0, "at": "2024-01-01T00:00:00.000Z", "note": null}\n{"id": 1}\n'
    )
    result = cli("bench", file, *options, code=code)
    assert said in result.stderr


def test_a_workflow_that_acts_outside_or_reads_no_topic_is_refused(cli: Any) -> None:
    Path("out.yaml").write_text(
        "workflow: w\nnodes:\n  a: {type: event, topic: t, format: json}\n"
        "  b: {type: notification, url_env: URL, title: hello}\nconnections: [a -> b]\n"
    )
    assert "act outside of the log" in cli("bench", "out.yaml", code=2).stderr
    Path("none.yaml").write_text(
        "workflow: w\nnodes:\n  a: {type: manual, items: [{n: 1}]}\n  b: {type: no-op}\nconnections: [a -> b]\n"
    )
    assert "no node of the workflow reads a topic" in cli("bench", "none.yaml", code=2).stderr
    Path("any.yaml").write_text(
        "workflow: w\nnodes:\n  a: {type: event, topic: t, format: json}\n"
        "  b: {type: publish, topic: u, format: json}\nconnections: [a -> b]\n"
    )
    assert "has no schema that says what is on it" in cli("bench", "any.yaml", code=2).stderr


def result(**figures: float) -> dict[str, Any]:
    rate = {"records_per_s": 100.0, "mb_per_s": 1.0, "cpu_us_per_record": 2.0, "memory_peak_mb": 10.0, "records_out": 5,
            "dead_letters": 0, "commits": 1, "steps": {"4": 2}, "spent_seconds": {"a<b": 1.0}}  # fmt: skip
    return {
        "bench": 1, "workflow": "w", "log": "embedded", "topics": ["t"], "records": 10, "seed": 0, "skew": 0.0,
        "throughput": rate | figures, "latency": {}, "date": "now", "machine": {"cores": 2},
        "versions": {"streamflow": "0"},
    }  # fmt: skip


@pytest.mark.parametrize(("new", "worse"), [
    ({}, False), ({"records_per_s": 86.0}, False), ({"records_per_s": 84.0}, True), ({"records_per_s": 300.0}, False),
    ({"cpu_us_per_record": 2.29}, False), ({"cpu_us_per_record": 2.31}, True), ({"memory_peak_mb": 1.0}, False),
])  # fmt: skip
def test_worse_is_less_of_what_is_good_and_more_of_what_is_not(new: dict[str, float], worse: bool) -> None:
    lines, found = compared(result(**new), result(), 0.15)
    assert found is worse
    assert any("WORSE" in line for line in lines) is worse
    assert len(lines) == 3


def test_names_are_escaped_on_the_page_and_lines_say_what_there_is() -> None:
    assert "a&lt;b" in page(result())
    assert "<b" not in page(result()).replace("<b>", "").replace("<body", "")
    assert any("steps" in line for line in text(result()))


def test_a_comparison_that_is_worse_ends_with_one(cli: Any, file: Path) -> None:
    Path("old.json").write_text(json.dumps(result(records_per_s=1e12)))
    out = cli("bench", file, "--records", 2_000, "--seconds", 0, "--compare", "old.json", code=1).stdout
    assert "WORSE" in out
    assert "the runs differ in workflow, records" in out
