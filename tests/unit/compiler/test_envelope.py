"""Reserved columns: made where something reads them, carried only where something behind a topic does."""

from __future__ import annotations

from streamflow.compiler import compile_document
from streamflow.compiler.envelope import avro_field_name
from streamflow.nodes import registry
from streamflow.topology.plan import StagePlan, Topology
from streamflow.workflow import load_text


def compiled(nodes: str, wires: str) -> Topology:
    lines = ["workflow: w", "nodes:", *(f"  {n.strip()}" for n in nodes.strip().splitlines())]
    lines += ["connections:", *(f"  - {w.strip()}" for w in wires.strip().splitlines())]
    document, found = load_text("\n".join(lines))
    assert document is not None, [str(f) for f in found]
    topology, found = compile_document(document, registry())
    assert topology is not None, [str(f) for f in found]
    return topology


def carried(stage: StagePlan) -> dict[str, str]:
    return {e.column: e.field for e in stage.inputs[0].envelope}


HEAD = "placed: {type: event, topic: orders}\nout: {type: publish, topic: out}\n"


def test_a_plain_workflow_makes_nothing_but_keys_and_times() -> None:
    (stage,) = compiled(HEAD + "a: {type: set, fields: {x: item.y}}", "placed -> a -> out").stages
    assert stage.needs == ("@key", "@ts")
    assert stage.inputs[0].keep == ()


def test_what_an_expression_names_is_made_in_every_stage_before_it() -> None:
    topology = compiled(
        HEAD
        + """by: {type: repartition, key: item.id}
        again: {type: repartition, key: item.other}
        a: {type: set, fields: {at: meta.offset, from: meta.topic, first: nodes.placed.x, mid: nodes.by.x}}""",
        "placed -> by -> again -> a -> out",
    )
    first, second, third = topology.stages
    assert first.needs == second.needs == third.needs == ("@key", "@offset", "@topic", "@ts")
    assert carried(second) == {
        "@item": "__item", "@offset": "__offset", "@topic": "__topic", "@nodes.placed.@item": "__n_placed__item",
    }  # fmt: skip
    assert carried(third) == {**carried(second), "@nodes.by.@item": "__n_by__item"}
    assert first.inputs[0].keep == second.inputs[0].keep == ("@item",)
    assert third.inputs[0].keep == ()


def test_every_field_of_an_envelope_is_in_the_records_schema() -> None:
    topology = compiled(
        HEAD + "by: {type: repartition, key: item.id}\na: {type: set, fields: {at: meta.headers}}",
        "placed -> by -> a -> out",
    )
    topic = topology.topic("w.by.repartition")
    assert [f.name for f in topic.codec.schema.fields] == [e.field for e in topic.envelope] == ["__item", "__headers"]
    assert topic.codec.schema.name == "w.by.Item"


def test_a_column_behind_the_last_reader_is_not_carried() -> None:
    """`meta.offset` is read before the repartition only."""
    topology = compiled(
        HEAD + "a: {type: set, fields: {at: meta.offset}}\nby: {type: repartition, key: item.id}",
        "placed -> a -> by -> out",
    )
    first, second = topology.stages
    assert "@offset" in first.needs
    assert "@offset" not in second.needs
    assert list(carried(second)) == ["@item"]


def test_paths_are_made_where_siblings_meet_again() -> None:
    nodes = (
        HEAD
        + """lines: {type: split, field: lines}
        dear: {type: if, when: item.price > 5}
        a: {type: set, fields: {x: 1}}"""
    )
    wires = """placed -> lines -> dear
        dear.true -> a -> out
        dear.false -> out"""
    (stage,) = compiled(nodes, wires).stages
    assert "@path" in stage.needs


def test_names_that_would_collide_are_told_apart_by_their_columns() -> None:
    taken: set[str] = set()
    names = []
    for column in ("@offset", "@nodes.a-b.c", "@nodes.a_b.c", "@nodes.a.b_c"):
        names.append(avro_field_name(column, taken))
        taken.add(names[-1])
    assert len(set(names)) == 4
    assert names[:2] == ["__offset", "__n_a_b_c"]
    assert all(n.isidentifier() for n in names)
