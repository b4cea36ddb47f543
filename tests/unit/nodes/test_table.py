"""Tables: order of deletions and rows, what is filtered, untyped items, parts of a join, and how ports are wired."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamflow.model.types import ANY, BYTES, LONG, STRING, record_of
from streamflow.nodes import registry
from streamflow.sdk.state import STATE_KEY, ReadsState
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.operator_kit import Arrival, KitBuild, check_node, make_node, run_node
from tests.simulation.running import compiled

ROW = record_of({"k": STRING.optional(), "n": LONG})
GONE = record_of({"key": BYTES})
SCHEMAS = {"in": ROW, "table": ROW, "gone": GONE}


def new(key: str | None, n: int, port: str = "in", path: bytes = b"") -> Arrival:
    return Arrival(port=port, item={"k": key, "n": n}, key=key and key.encode(), path=path)


def gone(key: str, path: bytes = b"") -> Arrival:
    return Arrival(port="gone", item={"key": b""}, key=key.encode(), path=path)


def test_rows_without_a_key_and_deletions_of_nothing_are_filtered() -> None:
    ran = run_node(make_node("table", key="k"), [new(None, 1), gone("a"), new("a", 2)], schema=SCHEMAS)
    assert ran.items() == [{"k": "a", "n": 2}]
    assert ran.filtered == 2


def test_untyped_items_are_kept_as_they_are() -> None:
    rows = [Arrival(item={"k": "a", "v": n}, key=b"a") for n in (1, 2)]
    ran = run_node(make_node("table", key="string(k)"), rows, schema={"in": ANY}, cuts=[1])
    assert ran.items("gone") == [{"k": "a", "v": 1}]
    assert ran.items() == [{"k": "a", "v": 1}, {"k": "a", "v": 2}]


def test_a_key_that_fails_fails_its_row() -> None:
    ran = run_node(make_node("table", key="10 // n"), [new("a", 0), new("a", 5)], schema={"in": ROW})
    assert [(code, item["n"]) for item, code, _ in ran.failed] == [("division_by_zero", 0)]
    assert ran.items() == [{"k": "a", "n": 5}]


@pytest.mark.parametrize("cuts", [[], [1, 2, 3]])
def test_a_lookup_finds_what_is_there_when_the_row_comes(cuts: list[int]) -> None:
    node = make_node("lookup", key="k", join="left", fields=["n"], prefix="r_")
    rows = [new("a", 1), new("a", 7, "table"), new("a", 2), gone("a"), new("a", 3), new(None, 4)]
    ran = run_node(node, rows, schema=SCHEMAS, cuts=cuts)
    assert [(i["n"], i["r_n"]) for i in ran.items()] == [(1, None), (2, 7), (3, None), (4, None)]


def test_keys_that_are_never_equal_are_refused() -> None:
    _, findings = check_node(make_node("lookup", key="k", table_key="n", prefix="r_"), {"in": ROW, "table": ROW})
    assert ["never equal" in f.message for f in findings] == [True]
    _, findings = check_node(make_node("lookup", key="k", prefix="r_"), {"in": ROW, "table": ANY})
    assert [f.code for f in findings] == ["SF252"]


WORKFLOW = """
workflow: w
nodes:
  start: {{type: event, topic: in, schema: in.avsc, key: {key}}}
  t: {{type: table, key: {of}}}
connections: [start -> t, start.gone -> t.gone]
"""
AVRO = '{"type": "record", "name": "In", "fields": [{"name": "k", "type": "%s"}, {"name": "n", "type": "long"}]}'


def driver(folder: Path, kind: str, workflow: str) -> TopologyDriver:
    (folder / "in.avsc").write_text(AVRO % kind)
    return TopologyDriver(compiled(workflow, folder), nodes=registry())


def feed(driver: TopologyDriver, items: Sequence[Any], keys: Sequence[bytes | None]) -> None:
    driver.feed("start", items, keys=keys, times_ms=list(range(len(items))))


@pytest.mark.parametrize(("kind", "key"), [("string", "a"), ("long", 5), ("int", 5)])
def test_a_record_without_value_has_the_field_that_the_key_names(kind: str, key: Any, tmp_path: Path) -> None:
    run = driver(tmp_path, kind, WORKFLOW.format(key="k", of="k"))
    raw = str(key).encode()
    feed(run, [{"k": key, "n": 1}, None, {"k": key, "n": 2}], [raw, raw, raw])
    assert run.items("start", "gone") == [{"k": key}]
    assert run.items("t", "gone") == [{"k": key, "n": 1}]
    assert [i["n"] for i in run.items("t", "out")] == [1, 2]  # type: ignore[index, call-overload]


def test_a_record_without_value_has_the_bytes_of_any_other_key(tmp_path: Path) -> None:
    text = WORKFLOW.format(key="upper(k)", of="upper(k), gone_key: key")
    run = driver(tmp_path, "string", text)
    feed(run, [{"k": "a", "n": 1}, None], [b"A", b"A"])
    assert [i["n"] for i in run.items("t", "gone")] == [1]  # type: ignore[index, call-overload]


def test_deletions_and_rows_go_through_one_topic(tmp_path: Path) -> None:
    """On topics of their own, a row could come before the deletion that it followed."""
    (tmp_path / "in.avsc").write_text(AVRO % "string")
    topology = compiled(WORKFLOW.format(key="k", of="k"), tmp_path)
    (topic,) = [t for t in topology.topics if t.kind == "repartition"]
    assert topic.name == "w.t.in.repartition"
    (stage,) = [s for s in topology.stages if s.id == "t.in"]
    assert stage.inputs[0].gone == record_of({"key": BYTES})


BY_FOREIGN_KEY = """
workflow: w
nodes:
  start: {type: event, topic: in, schema: in.avsc}
  others: {type: event, topic: others, schema: in.avsc}
  j: {type: table_join, left_key: n, foreign_key: k, right_key: k, prefix: r_}
connections: [start -> j.left, others -> j.right]
"""


def test_a_join_by_foreign_key_has_three_parts(tmp_path: Path) -> None:
    (tmp_path / "in.avsc").write_text(AVRO % "string")
    topology = compiled(BY_FOREIGN_KEY, tmp_path)
    assert [n.kind for s in topology.stages for n in s.nodes if n.kind != "repartition"] == [
        "table_join.rows",
        "table_join.matches",
        "table_join.result",
    ]
    # A document cannot name them.
    assert not any("." in kind for kind in registry().kinds)
    assert registry().get("table_join.rows") is None


@pytest.mark.parametrize(("kind", "rows"), [("table", 2), ("lookup", 2), ("table_join", 4)])
def test_what_is_kept_can_be_read(kind: str, rows: int) -> None:
    """As `streamflow state` shows it."""
    ports = {"table": ("in",), "lookup": ("table",), "table_join": ("left", "right")}[kind]
    params = {} if kind == "table" else {"prefix": "r_"}
    node = make_node(kind, key="k", **params)
    schemas = dict.fromkeys((*ports, "in"), ROW) if kind != "table_join" else dict.fromkeys(ports, ROW)
    ran = run_node(node, [new(k, n, port) for port in ports for n, k in enumerate("aab")], schema=schemas)
    operator = node.operator(KitBuild(inputs=schemas, outputs=ran.schemas or {"out": ROW}))
    assert isinstance(operator, ReadsState)
    shown = operator.read_state({name: list(store.scan()) for name, store in ran.stores.items()})
    assert shown.height == rows
    assert set(shown[STATE_KEY].to_list()) == {b"a", b"b"}
    assert set(shown["n"].to_list()) == {1, 2}


def test_a_left_row_that_moves_is_gone_there_before_it_is_new_here(tmp_path: Path) -> None:
    run = driver(tmp_path, "string", BY_FOREIGN_KEY)
    run.feed("others", [{"k": "x", "n": 10}, {"k": "y", "n": 20}], end=False)
    for key in ("x", "y", "z", "x"):
        run.feed("start", [{"k": key, "n": 1}], end=False)
    assert [i["r_n"] for i in run.items("j", "out")] == [10, 20, 10]  # type: ignore[index, call-overload]
    assert [i["r_n"] for i in run.items("j", "gone")] == [10, 20]  # type: ignore[index, call-overload]
