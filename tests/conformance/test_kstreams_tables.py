"""What Kafka Streams 4.3.1 gave for tables, case by case: lookups in a table, joins of two, joins by foreign key.

`data/kstreams_cases.jsonl`, one record at a time, as in test_kstreams.py. A lookup must give the same rows after each
input. Of a table the same succession of values of each key is asked for; rows that repeat what is there are free.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from tests.conformance.test_kstreams import CASES, SCHEMA, Output, changes
from tests.simulation.running import compiled

TABLES = [c for c in CASES if c["op"] in ("table_table_join", "stream_table_join", "foreign_key_join")]
TRIGGERS = """
workflow: case
nodes:
  left: {type: event, topic: left, schema: in.avsc}
  right: {type: event, topic: right, schema: in.avsc}
"""
PORTS = "connections: [left -> j.{0}, left.gone -> j.{0}_gone, right -> j.{1}, right.gone -> j.{2}]\n"


def workflow(case: dict[str, Any]) -> str:
    node = f"join: {case['params']['kind']}, prefix: r_"
    if case["op"] == "stream_table_join":
        wires = "connections: [left -> j.in, left.gone -> off, right -> j.table, right.gone -> j.gone]\n"
        return f"{TRIGGERS}  off: {{type: no-op}}\n  j: {{type: lookup, key: k, gone_key: key, {node}}}\n{wires}"
    keys = "key: k, left_gone_key: key, right_gone_key: key"
    if case["op"] == "foreign_key_join":
        keys += ', foreign_key: \'null if starts_with(v, "|") else split(v, "|")[0]\''
    wires = PORTS.format("left", "right", "right_gone")
    return f"{TRIGGERS}  j: {{type: table_join, {keys}, {node}}}\n{wires}"


def given(case: dict[str, Any], folder: Path) -> Output:
    """What the case's inputs give, row by row: what is gone before what is new."""
    driver = TopologyDriver(compiled(workflow(case), folder), nodes=registry())
    made: Output = []
    seen = {"gone": 0, "out": 0}
    for i, record in enumerate(case["inputs"]):
        if record["key"] is None and record["value"] is None:
            continue  # neither an item nor the end of one: a dead letter
        key = None if record["key"] is None else record["key"].encode()
        value = None if record["value"] is None else {"k": record["key"], "v": record["value"]}
        driver.feed(record["side"], [value], keys=[key], times_ms=[record["ts"]], end=False)
        for port in seen:
            batches = driver.outputs.get(("j", port), [])
            for batch in batches[seen[port] :]:
                made += [_output(row, port, i) for row in batch.frame.iter_rows(named=True)]
            seen[port] = len(batches)
    # Kafka Streams writes a new row over the old one; we say first that the old one is gone.
    renewed = {(r["key"], r["after"]) for r in made if r["value"] is not None}
    return [r for r in made if r["value"] is not None or (r["key"], r["after"]) not in renewed]


def _output(row: dict[str, Any], port: str, after: int) -> dict[str, Any]:
    value = "+".join("null" if v is None else v for v in (row["v"], row["r_v"]))
    key = row["k"] if row["k"] is not None else row["r_k"]
    return {"key": key, "value": value if port == "out" else None, "ts": row["@ts"], "after": after}


def rows(found: Output) -> Counter[tuple[object, ...]]:
    return Counter((r["after"], r["key"], r["value"], r["ts"]) for r in found)


@pytest.mark.parametrize("case", TABLES, ids=lambda case: str(case["id"]))
def test_tables_are_those_of_kafka_streams(case: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "in.avsc").write_text(json.dumps(SCHEMA))
    made = given(case, tmp_path)
    look: Any = rows if case["op"] == "stream_table_join" else changes
    assert look(made) == look(case["expected"])


def test_there_are_cases() -> None:
    assert Counter(c["op"] for c in TABLES) == {
        "table_table_join": 21,
        "stream_table_join": 14,
        "foreign_key_join": 14,
    }
