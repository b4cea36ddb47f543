"""What `wait` says of its parameters, and what the compiler makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled

ORDER = (
    '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}, '
    '{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}'
)
TEXT = """
workflow: w
nodes:
  orders: {type: event, topic: in, schema: order.avsc}
  hold: {type: wait, PARAMS}
  out: {type: publish, topic: out, format: json}
  more: {type: publish, topic: more, format: json}
connections: [orders -> hold -> out, WIRES]
"""


def text(params: str, wires: str = "orders -> more") -> str:
    return TEXT.replace("PARAMS", params).replace("WIRES", wires)


def findings(folder: Path, params: str, wires: str = "orders -> more") -> list[str]:
    (folder / "order.avsc").write_text(ORDER)
    document, found = load_text(text(params, wires), base_folder=str(folder))
    assert document is not None, found
    _, more = compile_document(document, registry())
    return [f"{f.code} {f.message}" for f in (*found, *more)]


@pytest.mark.parametrize(
    "params",
    ["for: 10m", "for: n * 1000", "for_ms: 600000", "until: at", "until: at, notes: x", "signal: go", "for: n / 2"],
)
def test_what_is_right(params: str, tmp_path: Path) -> None:
    assert findings(tmp_path, params) == []


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("for: 10m, until: at", "SF250 node 'hold': an item waits `for` a duration"),
        ("signed: false", "found: none is given"),
        ("for: 10m, timeout: 1h", "SF250 node 'hold': `timeout` goes with `signal`, not with `for`."),
        ("until: at, key: id", "`key` goes with `signal`, not with `until`."),
        ("for: id", "SF252 node 'hold': `id` is string, not a number of ms."),
        ("until: id", "SF252 node 'hold': `id` is string, not a timestamp"),
        ("signal: go, timeout: at", "not a number of ms."),
        ("signal: go, field: n", "SF253 node 'hold': items have a field 'n' already."),
        ("signal: go, key: nowhere", "nowhere"),
        ("for: 10", "expected a duration, found 10"),
        ("signal: go, schema: nowhere.avsc", "nowhere.avsc"),
    ],
)
def test_what_is_wrong(params: str, said: str, tmp_path: Path) -> None:
    found = findings(tmp_path, params)
    assert any(said in one for one in found), found
    assert len(found) == 1, found


def test_there_is_no_port_for_a_timeout_without_one(tmp_path: Path) -> None:
    assert any("timeout" in one for one in findings(tmp_path, "signal: go", "hold.timeout -> more"))
    assert findings(tmp_path, "signal: go, timeout: 1h", "hold.timeout -> more") == []


def test_schemas_names_and_errors_behind_a_wait(tmp_path: Path) -> None:
    """What came before is known behind it, and its error port is for its items alone."""
    (tmp_path / "order.avsc").write_text(ORDER)
    topology = compiled(
        """
workflow: w
nodes:
  orders: {type: event, topic: in, schema: order.avsc}
  twice: {type: set, fields: {double: n * 2}}
  hold: {type: wait, signal: go, on_error: error_port}
  next: {type: set, fields: {was: nodes.twice.double, first: nodes.orders.n, told: signal.by}, keep: []}
  out: {type: publish, topic: out, format: json}
  failed: {type: publish, topic: failed, format: json}
connections: [orders -> twice -> hold -> next -> out, hold.error -> failed]
""",
        tmp_path,
    )
    stage = topology.stage("hold.in")
    assert [i.topic for i in stage.inputs] == ["w.hold.in.repartition", "w.hold.signals.repartition"]
    (failed,) = [n for n in stage.nodes if n.id == "failed"]
    assert [f.name for f in failed.inputs["in"].fields] == ["id", "n", "at", "double", "error"]
    assert {n.id: n.errors.on_error for n in stage.nodes if n.id.startswith("hold")} == {
        "hold": "error_port", "hold.lost": "dead_letter",
    }  # fmt: skip


def test_the_driver_lets_time_pass(tmp_path: Path) -> None:
    """Signals, time-outs, and a window behind the wait, without a log."""
    (tmp_path / "order.avsc").write_text(ORDER)
    topology = compiled(
        """
workflow: w
nodes:
  orders: {type: event, topic: in, schema: order.avsc, time: at}
  hold: {type: wait, signal: go, key: id, timeout: 1h}
  pause: {type: wait, for: 10s}
  counts: {type: window, key: id, size: 10s, grace: 1d, fields: {many: {function: count}}}
  out: {type: publish, topic: out, format: json}
  over: {type: publish, topic: over, format: json}
connections: [orders -> hold -> pause -> counts -> out, hold.timeout -> over]
""",
        tmp_path,
    )
    driver = TopologyDriver(topology, nodes=registry())

    def order(n: int, second: int) -> dict[str, object]:
        return {"id": str(n), "n": n, "at": f"2024-01-01T00:00:{second:02}Z"}

    at = [1704067200000 + 1000 * s for s in (1, 2)]
    driver.feed("orders", [order(1, 1), order(2, 2)], times_ms=at)
    driver.signal("hold", [{"key": "1", "payload": {"by": "kim"}}])
    assert driver.items("pause") == []
    driver.pass_time(9_999)
    assert driver.items("pause") == []
    driver.pass_time(1)
    assert [item["id"] for item in driver.items("pause")] == ["1"]
    driver.pass_time(3_600_000)
    assert [item["id"] for item in driver.items("over")] == ["2"]
    driver.feed("orders", [order(3, 5)], times_ms=[at[0] + 10 * 86_400_000])
    assert [row["many"] for row in driver.items("out")] == [1]


def test_what_acts_on_whole_executions_cannot_stand_behind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    document, _ = load_text(
        """
workflow: w
nodes:
  rows: {type: file, path: a.csv}
  hold: {type: wait, signal: go}
  sorted: {type: sort, by: n}
  out: {type: publish, topic: out, format: json}
connections: [rows -> hold -> sorted -> out]
""",
        base_folder=str(tmp_path),
    )
    assert document is not None
    _, found = compile_document(document, registry())
    assert [f.code for f in found if f.severity == "error"], found
    assert "different" not in str(found[0]), found
