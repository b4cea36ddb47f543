"""Global tables in a plan: who copies what, what is not repartitioned, and which topics are not made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamflow.nodes import registry
from streamflow.runtime.topics import resolve_partitions
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.describe import describe
from streamflow.topology.mermaid import to_mermaid
from streamflow.topology.plan import Topology
from streamflow.topology.serialize import from_json, to_json
from streamflow.topology.svg import to_svg
from tests.simulation.running import compiled

SCHEMA = """{{"type": "record", "name": "{name}", "fields": [
  {{"name": "code", "type": "string"}}, {{"name": "n", "type": "long"}}]}}"""
WORKFLOW = """
workflow: w
nodes:
  rows: {type: event, topic: rows, schema: row.avsc, format: json, key: code}
  t: {type: table, key: code, scope: global}
  first: {type: event, topic: first, schema: item.avsc, format: json}
  second: {type: event, topic: second, schema: item.avsc, format: json}
  a: {type: lookup, key: "'x' + string(n % 10)", fields: [n], prefix: a_}
  b: {type: lookup, key: code, fields: [n], prefix: b_, join: left}
  c: {type: lookup, key: code, fields: [n], prefix: c_}
  out: {type: publish, topic: out, format: json}
  also: {type: publish, topic: also, format: json}
connections:
  - rows -> t -> a.table
  - rows.gone -> t.gone
  - t -> b.table
  - t -> c.table
  - first -> a -> b -> out
  - second -> c -> also
"""


def plan(folder: Path, text: str = WORKFLOW) -> Topology:
    for name in ("row", "item"):
        (folder / f"{name}.avsc").write_text(SCHEMA.format(name=name.title()))
    return compiled(text, folder)


def test_stages_copy_the_table_and_nothing_runs_it(tmp_path: Path) -> None:
    topology = plan(tmp_path)
    assert [s.id for s in topology.stages] == ["first", "second"]
    for stage in topology.stages:
        assert [t.node.id for t in stage.tables] == ["t"], "once, however many look into it"
        assert [t.input.topic for t in stage.tables] == ["rows"]
        assert not stage.stores
        assert {i.topic for i in stage.inputs} == {stage.id}
    assert {n.id: (n.kind, n.table) for s in topology.stages for n in s.nodes} == {
        "a": ("lookup.global", "t"), "b": ("lookup.global", "t"), "c": ("lookup.global", "t"),
        "out": ("publish", ""), "also": ("publish", ""),
    }  # fmt: skip
    assert {t.kind for t in topology.topics} == {"source", "sink", "dead_letter", "ledger", "journal"}
    assert from_json(to_json(topology)) == topology


def test_tasks_are_as_many_as_the_stream_has_partitions(tmp_path: Path) -> None:
    counts = resolve_partitions(plan(tmp_path), {"rows": 7, "first": 2, "second": 3})
    assert (counts["w.first.journal"], counts["w.second.journal"]) == (2, 3)


def test_pictures_show_it(tmp_path: Path) -> None:
    topology = plan(tmp_path)
    text = describe(topology)
    assert text.count("copies rows, json, all partitions, into each task, as t") == 2
    assert "a    lookup.global  <- first; looks into t" in text
    assert to_mermaid(topology).count("global table") == 2
    assert to_svg(topology).count("t (global table)") == 2


def test_keys_that_are_never_equal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"`code` of port 'table' is string, and `n` of port 'in' long"):
        plan(tmp_path, WORKFLOW.replace("c: {type: lookup, key: code", "c: {type: lookup, key: n"))


def test_a_driver_without_a_log_fills_it(tmp_path: Path) -> None:
    driver = TopologyDriver(plan(tmp_path), nodes=registry())
    driver.feed("rows", [{"code": f"x{i}", "n": i} for i in range(4)], keys=[f"x{i}".encode() for i in range(4)])
    driver.feed("first", [{"code": "x1", "n": 12}, {"code": "?", "n": 3}, {"code": "x2", "n": 9}])
    assert driver.items("out") == [
        {"code": "x1", "n": 12, "a_n": 2, "b_n": 1},
        {"code": "?", "n": 3, "a_n": 3, "b_n": None},
    ]
    driver.feed("rows", [None], keys=[b"x1"])
    driver.feed("second", [{"code": "x1", "n": 1}, {"code": "x3", "n": 1}])
    assert [item["c_n"] for item in driver.items("also")] == [3]
    assert driver.counts()["t"].rows_in == 5


def test_the_key_of_a_table_may_say_where_its_record_was(tmp_path: Path) -> None:
    """Reserved columns that its key reads are made for the copy, and not for the stream."""
    topology = plan(
        tmp_path,
        WORKFLOW.replace("key: code, scope", "key: string(meta.offset), scope").replace(
            "  - rows.gone -> t.gone\n", ""
        ),
    )
    (first, _) = topology.stages
    assert "@offset" in first.tables[0].needs
    assert "@offset" not in first.needs
    driver = TopologyDriver(replace(topology), nodes=registry())
    driver.feed("rows", [{"code": "r", "n": 5}, {"code": "r", "n": 6}])
    driver.feed("second", [{"code": "1", "n": 0}])
    assert [item["c_n"] for item in driver.items("also")] == [6]
