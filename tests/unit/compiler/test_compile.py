"""What the compiler finds wrong, and that it says so once, at the right place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streamflow.compiler import CODES, compile_document
from streamflow.nodes import registry
from streamflow.sdk.places import Diagnostic
from streamflow.topology.plan import Topology
from streamflow.workflow import load

PLANS = Path(__file__).parents[2] / "golden" / "plans"
PLACED = "placed: {type: event, topic: shop.orders, schema: order.avsc}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(PLANS / "order.avsc", tmp_path)
    return tmp_path


def compiled(folder: Path, nodes: str, connections: str, more: str = "") -> tuple[Topology | None, list[Diagnostic]]:
    """Compile a workflow given by its lines of nodes and of connections."""
    lines = ["workflow: w", "nodes:", *(f"  {n.strip()}" for n in nodes.strip().splitlines())]
    lines += ["connections:", *(f"  - {c.strip()}" for c in connections.strip().splitlines()), more]
    path = folder / "w.yaml"
    path.write_text("\n".join(lines) + "\n")
    document, found = load(path)
    assert document is not None, [str(f) for f in found]
    return compile_document(document, registry())


def found(folder: Path, nodes: str, connections: str, more: str = "") -> list[tuple[str, int]]:
    """(code, line) of all findings of a workflow with errors."""
    topology, findings = compiled(folder, nodes, connections, more)
    assert topology is None or not any(f.severity == "error" for f in findings)
    return [(f.code, f.place.line) for f in findings]


def test_wires_that_do_not_fit_name_both_places(folder: Path) -> None:
    topology, findings = compiled(
        folder,
        f"""{PLACED}
        a: {{type: set, fields: {{x: amount}}}}
        b: {{type: set, fields: {{x: customer}}}}
        out: {{type: publish, topic: t.out}}""",
        """placed -> [a, b]
        a -> out
        b -> out""",
    )
    assert topology is None
    (finding,) = findings
    assert (finding.code, finding.place.line) == ("SF221", 10)
    assert "field 'x' is double from a.out" in finding.message
    assert "string from b.out" in finding.message
    assert "w.yaml:9:" in finding.message


def test_a_missing_field_on_one_wire_is_an_error_but_for_a_merge(folder: Path) -> None:
    nodes = f"""{PLACED}
        a: {{type: set, fields: {{x: amount}}}}
        both: {{type: KIND}}
        out: {{type: publish, topic: t.out}}"""
    wires = """placed -> [a, both]
        a -> both -> out"""
    assert found(folder, nodes.replace("KIND", "no-op"), wires) == [("SF221", 9)]
    topology, _ = compiled(folder, nodes.replace("KIND", "merge"), wires)
    assert topology is not None
    merged = next(n for n in topology.stages[0].nodes if n.id == "both").inputs["in"].field("x")
    assert merged is not None
    assert merged.type.nullable


def test_all_errors_are_found_at_once_and_none_twice(folder: Path) -> None:
    """A misspelt field, an unknown schema and a misspelt field below it: three findings, no consequences of them."""
    nodes = f"""{PLACED}
        a: {{type: set, fields: {{x: ammount, y: qty}}}}
        b: {{type: set, fields: {{z: x + yy}}}}
        c: {{type: publish, topic: t.out, schema: nowhere.avsc}}
        d: {{type: publish, topic: t.other, schema: order.avsc}}"""
    wires = """placed -> a -> b -> c
        a -> d"""
    codes = [c for c, _ in found(folder, nodes, wires)]
    assert codes == ["SF211", "SF211", "SF222"]


def test_a_schema_that_is_not_there_gets_a_suggestion(folder: Path) -> None:
    _, findings = compiled(
        folder,
        """placed: {type: event, topic: t.in, schema: oder.avsc}
        out: {type: publish, topic: t.out}""",
        "placed -> out",
    )
    (finding,) = findings
    assert finding.code == "SF222"
    assert "order.avsc" in finding.mend


def test_a_schema_that_is_no_schema_is_said_to_be_none(folder: Path) -> None:
    (folder / "order.avsc").write_text('{"type": "record"')
    nodes = f"""{PLACED}
        out: {{type: publish, topic: t.out}}"""
    assert found(folder, nodes, "placed -> out") == [("SF222", 3)]


def test_schemas_are_found_in_the_projects_folder_and_carried_by_the_plan(folder: Path) -> None:
    inner = folder / "flows" / "deep"
    inner.mkdir(parents=True)
    (folder / "schemas").mkdir()
    shutil.move(str(folder / "order.avsc"), folder / "schemas" / "order.avsc")
    topology, _ = compiled(inner, f"{PLACED}\n        out: {{type: publish, topic: t.out}}", "placed -> out")
    assert topology is not None
    assert list(topology.schemas) == ["order.avsc"]
    codec = topology.stages[0].inputs[0].codec
    assert codec is not None
    # The bytes depend on where null stands in the union, which only the owner's text says.
    assert '["string","null"]' in codec.avro


def test_sorting_an_endless_stream_is_refused(folder: Path) -> None:
    nodes = f"""{PLACED}
        ranked: {{type: sort, by: [{{value: amount}}]}}
        out: {{type: publish, topic: t.out}}"""
    assert found(folder, nodes, "placed -> ranked -> out") == [("SF224", 4)]


def test_the_parts_of_an_item_that_were_spread_are_gathered_before_they_are_sorted(folder: Path) -> None:
    nodes = f"""{PLACED}
        lines: {{type: split, field: lines}}
        by: {{type: repartition, key: sku}}
        ranked: {{type: sort, by: [{{value: price}}]}}
        out: {{type: publish, topic: t.out}}"""
    together, _ = compiled(folder, nodes, "placed -> lines -> ranked -> by -> out")
    assert together is not None
    assert not any(stage.feeds for stage in together.stages)
    apart, _ = compiled(folder, nodes, "placed -> lines -> by -> ranked -> out")
    assert apart is not None
    assert [n.kind for n in apart.stage("ranked.rows").nodes] == ["gather", "sort", "publish"]


def test_sorting_a_file_behind_a_repartition_is_refused(folder: Path) -> None:
    nodes = """rows: {type: file, path: "*.csv", schema: flat.avsc}
        by: {type: repartition, key: customer}
        ranked: {type: sort, by: [{value: customer}]}
        out: {type: publish, topic: t.out}"""
    (folder / "flat.avsc").write_text(
        '{"type": "record", "name": "R", "fields": [{"name": "customer", "type": "string"}]}'
    )
    assert found(folder, nodes, "rows -> by -> ranked -> out") == [("SF225", 5)]
    topology, _ = compiled(folder, nodes, "rows -> ranked -> by -> out")
    assert topology is not None
    assert topology.topic("w.by.repartition").partitions == topology.partitions_default


def test_two_triggers_of_a_stage_may_not_read_the_same_topic(folder: Path) -> None:
    nodes = f"""{PLACED}
        again: {{type: event, topic: shop.orders, schema: order.avsc}}
        out: {{type: publish, topic: t.out}}"""
    assert [c for c, _ in found(folder, nodes, '"[placed, again] -> out"')] == ["SF228"]


def test_a_topic_of_a_user_may_not_be_one_of_ours(folder: Path) -> None:
    nodes = f"""{PLACED}
        out: {{type: publish, topic: w.dead-letter}}"""
    assert found(folder, nodes, "placed -> out") == [("SF230", 4)]


def test_one_topic_has_one_encoding(folder: Path) -> None:
    nodes = f"""{PLACED}
        less: {{type: set, fields: {{a: 1}}, keep: []}}
        one: {{type: publish, topic: t.out}}
        two: {{type: publish, topic: t.out, format: FORMAT}}"""
    wires = """placed -> one
        placed -> less -> two"""
    assert found(folder, nodes.replace("FORMAT", "json"), wires) == [("SF231", 6)]
    assert found(folder, nodes.replace("FORMAT", "avro"), wires) == [("SF231", 6)]


@pytest.mark.parametrize("topic", ["no spaces", "x" * 250, "größe"])
def test_a_name_that_kafka_refuses_is_found(folder: Path, topic: str) -> None:
    nodes = f"""{PLACED}
        out: {{type: publish, topic: "{topic}"}}"""
    assert found(folder, nodes, "placed -> out") == [("SF229", 4)]


def test_feedback_is_a_warning(folder: Path) -> None:
    nodes = f"""{PLACED}
        out: {{type: publish, topic: shop.orders, schema: order.avsc}}"""
    topology, findings = compiled(folder, nodes, "placed -> out")
    assert topology is not None
    assert [(f.code, f.severity) for f in findings] == [("SF232", "warning")]


def test_event_time_must_be_a_time(folder: Path) -> None:
    nodes = """placed: {type: event, topic: shop.orders, schema: order.avsc, time: customer}
        out: {type: publish, topic: t.out}"""
    assert found(folder, nodes, "placed -> out") == [("SF252", 3)]


def test_nothing_can_come_from_what_is_disabled(folder: Path) -> None:
    nodes = f"""{PLACED}
        other: {{type: event, topic: shop.other, schema: order.avsc, disabled: true}}
        both: {{type: merge, mode: combine_by_key, keys: [id]}}
        out: {{type: publish, topic: t.out}}"""
    wires = """placed -> both.left
        other -> both.right
        both -> out"""
    assert found(folder, nodes, wires) == [("SF235", 5)]


def test_a_disabled_condition_passes_by_its_first_port(folder: Path) -> None:
    nodes = f"""{PLACED}
        large: {{type: if, when: amount > 1, disabled: true}}
        yes: {{type: publish, topic: t.yes}}
        no: {{type: publish, topic: t.no}}"""
    wires = """placed -> large
        large.true -> yes
        large.false -> no"""
    topology, findings = compiled(folder, nodes, wires)
    # What only the other port fed has no rows to run on: it is said, not dropped in silence.
    assert ("SF235", "warning") in [(f.code, f.severity) for f in findings]
    assert topology is None or [n.id for n in topology.stages[0].nodes] == ["large", "yes"]


def test_earlier_nodes_are_nullable_where_not_all_items_passed_them(folder: Path) -> None:
    nodes = f"""{PLACED}
        large: {{type: if, when: amount > 1}}
        a: {{type: set, fields: {{x: amount}}}}
        b: {{type: set, fields: {{x: 0.0}}}}
        both: {{type: set, fields: {{sure: nodes.placed.amount, maybe: nodes.a.x}}}}
        out: {{type: publish, topic: t.out}}"""
    wires = """placed -> large
        large.true -> a -> both
        large.false -> b -> both -> out"""
    topology, findings = compiled(folder, nodes, wires)
    assert topology is not None, [str(f) for f in findings]
    schema = next(n for n in topology.stages[0].nodes if n.id == "both").outputs["out"]
    types = {f.name: str(f.type) for f in schema.fields}
    assert (types["sure"], types["maybe"]) == ("double", "double?")
    assert topology.stages[0].inputs[0].keep == ("amount",)
    assert next(n for n in topology.stages[0].nodes if n.id == "a").keep == ("x",)


def test_an_aggregate_forgets_what_came_before(folder: Path) -> None:
    nodes = f"""{PLACED}
        lines: {{type: split, field: lines}}
        total: {{type: aggregate, fields: {{total: {{function: sum, of: price}}}}}}
        after: {{type: set, fields: {{id: nodes.placed.id}}}}
        out: {{type: publish, topic: t.out}}"""
    codes = [c for c, _ in found(folder, nodes, "placed -> lines -> total -> after -> out")]
    assert codes == ["SF211"]


def test_moving_a_node_in_the_document_changes_no_name(folder: Path) -> None:
    lines = [
        PLACED,
        "more: {type: event, topic: shop.more, schema: order.avsc}",
        "by: {type: repartition, key: customer}",
        "out: {type: publish, topic: t.out}",
    ]
    wires = '"[placed, more] -> by -> out"'
    plans = [compiled(folder, "\n".join(order), wires)[0] for order in (lines, lines[::-1])]
    names = [{t.name for t in p.topics} | {s.id for s in p.stages} for p in plans if p is not None]
    assert len(names) == 2
    assert names[0] == names[1]


def test_every_code_has_a_rule() -> None:
    from streamflow.compiler import codes

    named = {v for k, v in vars(codes).items() if k.isupper() and isinstance(v, str)}
    assert named == set(CODES)
