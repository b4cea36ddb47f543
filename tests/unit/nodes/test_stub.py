"""stub, and what imports need of other kinds: keys that no schema names, fields called like words of the language."""

from __future__ import annotations

import pytest

from streamflow.compiler import compile_document
from streamflow.model.types import ANY, STRING, Schema, record_of
from streamflow.nodes import registry
from streamflow.nodes.checks import NAME, STUB
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.operator_kit import check_node, make_node, run_node
from streamflow.workflow.load import load_text

RECORD = record_of({"a": STRING})


@pytest.mark.parametrize("schema", [ANY, RECORD], ids=["untyped", "typed"])
def test_every_item_that_gets_to_a_stub_fails(schema: Schema) -> None:
    ran = run_node(make_node("stub", of="x.mail"), [{"a": "1"}, {"a": "2"}], schema=schema)
    assert [code for _, code, _ in ran.failed] == ["stub", "stub"]
    assert ran.items("out") == []


def test_check_warns_of_a_stub_and_the_workflow_runs_around_it() -> None:
    """Method: a stub with two inputs and two outputs; items by its error port, and items that pass by it."""
    document, _ = load_text(
        "workflow: w\n"
        "nodes:\n"
        "  start: {type: manual, items: [{a: 1}]}\n"
        "  hole: {type: stub, of: n8n.compare, inputs: [left, right], outputs: [same, other], original: {x: [1]}}\n"
        "  failed: {type: no-op}\n"
        "  after: {type: no-op}\n"
        "  fine: {type: set, fields: {b: item.a}}\n"
        "  fresh: {type: no-op}\n"
        "connections:\n"
        "  - start -> [hole.left, hole.right, fine]\n"
        "  - hole.error -> failed\n"
        "  - hole.other -> after\n"
        "  - fine -> fresh\n"
    )
    assert document is not None
    topology, findings = compile_document(document, registry())
    assert topology is not None
    assert [(f.severity, f.code, f.place.line) for f in findings] == [("warning", STUB, 4)]
    assert "'n8n.compare'" in findings[0].message
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("start", [{"a": 5}])
    assert driver.items("fresh") == [{"a": 5, "b": 5}]
    assert driver.items("after") == []
    assert [item["a"] for item in driver.items("failed")] == [5, 5]


def test_untyped_items_may_have_any_keys() -> None:
    fields = {"full name": 'concat(first, " ", last)', "e-mail": "item.mail"}
    ran = run_node(
        make_node("set", fields=fields, remove=["mail"]), [{"first": "A", "last": "B", "mail": "x"}], schema=ANY
    )
    assert ran.items() == [{"first": "A", "last": "B", "full name": "A B", "e-mail": "x"}]
    renamed = run_node(make_node("rename", fields={"a": "the a"}), [{"a": 1}], schema=ANY)
    assert renamed.items() == [{"the a": 1}]


@pytest.mark.parametrize("name", ["", "@ts"])
def test_keys_of_untyped_items_are_no_reserved_columns(name: str) -> None:
    assert [f.code for f in check_node(make_node("set", fields={name: "1"}), {"in": ANY})[1]] == [NAME]


def test_names_of_typed_items_are_those_of_avro() -> None:
    assert [f.code for f in check_node(make_node("set", fields={"full name": "1"}), {"in": RECORD})[1]] == [NAME]
    assert [f.code for f in check_node(make_node("set", fields={"full name": "1"}, keep=[]), {"in": ANY})[1]] == [NAME]


def test_fields_called_like_words_do_not_change_expressions() -> None:
    fields = {
        "not": "1",
        "item": "2",
        "if": "3",
        "null": "4",
        "x": "item.a if not (item.a == null) else 0",
        "y": "x + 1",
    }
    ran = run_node(make_node("set", fields=fields), [{"a": 7}], schema=ANY)
    assert ran.items() == [{"a": 7, "not": 1, "item": 2, "if": 3, "null": 4, "x": 7, "y": 8}]


@pytest.mark.parametrize("count", [3, 300])
def test_a_set_with_more_fields_than_an_expression_has_room_for(count: int) -> None:
    fields = {f"f{at}": f'"{at}" if item.a > 1 and item.b > 2 else null' for at in range(count)} | {"c": '"constant"'}
    ran = run_node(make_node("set", fields=fields), [{"a": 2, "b": 3}], schema=ANY)
    assert ran.items() == [{"a": 2, "b": 3} | {f"f{at}": str(at) for at in range(count)} | {"c": "constant"}]
