"""Compensations in a plan: which steps are undone, for which items, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import StagePlan
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled

ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "long"}, {"name": "bad", "type": "string"}]}"""


def fails(node: str) -> str:
    return f"{{type: set, fields: {{{node}: '1 // (0 if bad == \"{node}\" else 1)'}}"


SAGA = f"""
workflow: w
nodes:
  orders: {{type: event, topic: orders, schema: order.avsc}}
  take-in: {fails("a")}, compensate: give-back}}
  large: {{type: if, when: id > 10}}
  extra: {fails("b")}, compensate: no-extra, compensate_when: id < 100}}
  pay: {fails("c")}, compensate: pay-back}}
  send: {fails("d")}, on_error: compensate}}
  both: {{type: merge, mode: append}}
  sent: {{type: publish, topic: sent, format: json}}
  give-back: {{type: publish, topic: given-back, format: json}}
  no-extra: {{type: publish, topic: no-extra, format: json}}
  pay-back: {{type: publish, topic: paid-back, format: json}}
  failed: {{type: publish, topic: failed, format: json}}
connections:
  - orders -> take-in -> large
  - large.true -> extra -> both -> pay
  - large.false -> both
  - pay -> send -> sent
  - send.error -> failed
policies: {{on_error: compensate}}
"""
ORDERS: Sequence[Mapping[str, object]] = [
    {"id": 1, "bad": ""}, {"id": 2, "bad": "a"}, {"id": 3, "bad": "c"}, {"id": 4, "bad": "d"},
    {"id": 11, "bad": ""}, {"id": 12, "bad": "b"}, {"id": 13, "bad": "c"}, {"id": 14, "bad": "d"},
    {"id": 114, "bad": "d"},
]  # fmt: skip


def test_exactly_the_steps_that_an_item_has_passed_are_undone(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(ORDER)
    driver = TopologyDriver(compiled(SAGA, tmp_path), nodes=registry())
    driver.feed("orders", ORDERS)

    def ids(node: str) -> list[object]:
        return [item["id"] for item in driver.items(node)]  # type: ignore[index]

    assert ids("sent") == [1, 11]
    assert ids("give-back") == [3, 4, 12, 13, 14, 114]
    assert ids("no-extra") == [13, 14]
    assert ids("pay-back") == [4, 14, 114]
    assert ids("failed") == [4, 14, 114]
    dead = [(d["node"], d["code"]) for d in driver.dead_letters()]
    assert sorted(dead) == [("extra", "division_by_zero"), *[("pay", "division_by_zero")] * 2,
                            ("take-in", "division_by_zero")]  # fmt: skip


def test_the_last_step_is_undone_first_and_behind_a_commit(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(ORDER)
    topology = compiled(SAGA, tmp_path)
    before, behind = topology.stages
    undoing = [node.id for node in behind.nodes if node.kind == "publish"]
    assert undoing == ["pay-back", "no-extra", "give-back"]
    assert not {"pay-back", "no-extra", "give-back"} & {node.id for node in before.nodes}
    assert [sink.topic for sink in before.sinks if "undo" in sink.topic] == ["w.failed.undo.repartition"]


def stages(text: str, tmp_path: Path) -> tuple[StagePlan, ...]:
    (tmp_path / "order.avsc").write_text(ORDER)
    return compiled(text, tmp_path).stages


def said(text: str, tmp_path: Path) -> list[str]:
    (tmp_path / "order.avsc").write_text(ORDER)
    document, findings = load_text(text, base_folder=str(tmp_path))
    assert document is not None
    return [f"{f.code} {f.message}" for f in (*findings, *compile_document(document, registry())[1])]


def test_without_the_policy_nothing_is_undone_and_that_is_said(tmp_path: Path) -> None:
    text = SAGA.replace("policies: {on_error: compensate}", "").replace(", on_error: compensate", "")
    assert len(stages(text, tmp_path)) == 1
    found = said(text, tmp_path)
    assert [f[:5] for f in found] == ["SF241"] * 3
    assert any("nothing behind 'pay' has the policy `compensate`" in f for f in found)


def test_one_node_may_have_the_policy_alone(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(ORDER)
    topology = compiled(SAGA.replace("policies: {on_error: compensate}", ""), tmp_path)
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("orders", ORDERS)
    assert [item["id"] for item in driver.items("give-back")] == [4, 14, 114]  # type: ignore[index]
    assert len(driver.dead_letters()) == 4


def test_an_error_port_that_is_connected_is_handled_there_unless_the_node_says_so_itself(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(ORDER)
    driver = TopologyDriver(compiled(SAGA.replace(", on_error: compensate", ""), tmp_path), nodes=registry())
    driver.feed("orders", ORDERS)
    assert [item["id"] for item in driver.items("failed")] == [4, 14, 114]  # type: ignore[index]
    assert [item["id"] for item in driver.items("give-back")] == [3, 12, 13]  # type: ignore[index]


def test_a_compensation_that_is_no_node_or_a_trigger_or_itself_is_told(tmp_path: Path) -> None:
    text = SAGA.replace("compensate: give-back", "compensate: give-bakc").replace(
        "compensate: pay-back", "compensate: orders"
    )
    found = said(text, tmp_path)
    assert any(f.startswith("SF131 there is no node 'give-bakc' to compensate 'take-in'") for f in found)
    assert any(f.startswith("SF134 node 'orders' is a trigger: it cannot compensate") for f in found)
    itself = said(SAGA.replace("compensate: pay-back", "compensate: pay"), tmp_path)
    assert any("node 'pay' compensates itself" in f for f in itself)
    alone = said(SAGA.replace("compensate: no-extra, ", ""), tmp_path)
    assert any("says when it is compensated, but not by what" in f for f in alone)


def test_a_compensation_that_leads_back_is_a_cycle(tmp_path: Path) -> None:
    text = SAGA.replace("give-back: {type: publish, topic: given-back, format: json}", "give-back: {type: no-op}")
    found = said(text.replace("policies:", "  - give-back -> take-in\npolicies:"), tmp_path)
    assert any(f.startswith("SF135") for f in found)


def test_what_fails_while_it_undoes_is_a_dead_letter_of_its_own(tmp_path: Path) -> None:
    right = "pay-back: {type: publish, topic: paid-back, format: json}"
    text = SAGA.replace(right, "pay-back: {type: set, fields: {x: 1 // (id - id)}}")
    (tmp_path / "order.avsc").write_text(ORDER)
    driver = TopologyDriver(compiled(text, tmp_path), nodes=registry())
    driver.feed("orders", [{"id": 4, "bad": "d"}])
    assert [d["node"] for d in driver.dead_letters()] == ["pay-back"]
    assert [item["id"] for item in driver.items("failed")] == [4]  # type: ignore[index]
    assert [item["id"] for item in driver.items("give-back")] == [4]  # type: ignore[index]


def test_nodes_that_cannot_fail_are_no_reason(tmp_path: Path) -> None:
    """A disabled node passes its items through; it has no error port."""
    text = SAGA.replace("extra: {type: set,", "extra: {type: set, disabled: true,")
    (tmp_path / "order.avsc").write_text(ORDER)
    driver = TopologyDriver(compiled(text, tmp_path), nodes=registry())
    driver.feed("orders", ORDERS)
    assert [item["id"] for item in driver.items("pay-back")] == [4, 14, 114]  # type: ignore[index]
