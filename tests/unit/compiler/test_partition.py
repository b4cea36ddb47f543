"""Repartitions that the compiler puts in: where rows must meet by key, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import builtin
from streamflow.nodes.repartition import Repartition
from streamflow.runtime.topics import resolve_partitions
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.places import Diagnostic
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workflow import load_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Node):
    """A keyed node as later versions have them: it passes what it has not seen."""

    spec: ClassVar = NodeSpec(
        kind="seen", category="keyed", inputs=(Port(name="in", keyed=True),), stores=(Store(name="keys"),)
    )
    key: Expression | None = param(default=None, help="What is remembered.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.key is not None:
            ctx.typeof(self.key, param="key")
        return {"out": ctx.inputs["in"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Node):
    """Two keyed inputs."""

    spec: ClassVar = NodeSpec(
        kind="pair", category="keyed", inputs=(Port(name="left", keyed=True), Port(name="right", keyed=True))
    )
    left_key: Expression = param(help="Key of the left.")
    right_key: Expression = param(help="Key of the right.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["left"]}


REGISTRY = NodeRegistry((*builtin(), Seen, Pair))


def compiled(nodes: str, wires: str) -> tuple[Topology | None, list[Diagnostic]]:
    lines = ["workflow: w", "nodes:", *(f"  {n.strip()}" for n in nodes.strip().splitlines())]
    lines += ["connections:", *(f"  - {w.strip()}" for w in wires.strip().splitlines())]
    document, found = load_text("\n".join(lines))
    assert document is not None, [str(f) for f in found]
    return compile_document(document, REGISTRY)


HEAD = "placed: {type: event, topic: orders}\nout: {type: publish, topic: out}\n"


def test_a_keyed_port_gets_a_repartition_named_from_ids() -> None:
    topology, found = compiled(HEAD + "fresh: {type: seen, key: item.id}", "placed -> fresh -> out")
    assert topology is not None, [str(f) for f in found]
    assert [s.id for s in topology.stages] == ["placed", "fresh.in"]
    first, second = topology.stages
    assert [(n.id, n.kind, dict(n.params)) for n in first.nodes] == [("fresh.in", "repartition", {"key": "item.id"})]
    assert [n.id for n in second.nodes] == ["fresh", "out"]
    assert second.inputs[0].topic == first.sinks[0].topic == "w.fresh.in.repartition"
    assert second.inputs[0].internal
    assert [s.changelog for s in second.stores] == ["w.fresh.keys.changelog"]


@pytest.mark.parametrize(
    ("between", "wires", "stages"),
    [
        ("by: {type: repartition, key: item.id}", "placed -> by -> fresh -> out", 2),
        ("by: {type: repartition, key: item.other}", "placed -> by -> fresh -> out", 3),
        (
            "by: {type: repartition, key: item.id}\nsome: {type: filter, when: item.ok}",
            "placed -> by -> some -> fresh -> out",
            2,
        ),
        (
            "by: {type: repartition, key: item.id}\nnew: {type: set, fields: {id: item.other}}",
            "placed -> by -> new -> fresh -> out",
            3,
        ),
    ],
)
def test_rows_that_are_partitioned_right_stay_where_they_are(between: str, wires: str, stages: int) -> None:
    topology, found = compiled(f"{HEAD}{between}\nfresh: {{type: seen, key: item.id}}", wires)
    assert topology is not None, [str(f) for f in found]
    assert len(topology.stages) == stages


def test_a_keyed_node_without_a_key_is_told(tmp_path: Path) -> None:
    topology, found = compiled(HEAD + "fresh: {type: seen}", "placed -> fresh -> out")
    assert topology is None
    assert [f.code for f in found] == ["SF233"]


def test_an_error_in_a_key_is_told_once() -> None:
    topology, found = compiled(HEAD + "fresh: {type: seen, key: nodes.nowhere.id}", "placed -> fresh -> out")
    assert topology is None
    assert [f.code for f in found] == ["SF211"]


PAIR = """placed: {type: event, topic: orders}
paid: {type: event, topic: payments}
both: {type: pair, left_key: item.id, right_key: item.order}
out: {type: publish, topic: out}
"""


def test_each_keyed_port_has_its_own_key() -> None:
    topology, found = compiled(PAIR, "placed -> both.left\npaid -> both.right\nboth -> out")
    assert topology is not None, [str(f) for f in found]
    assert [s.id for s in topology.stages] == ["placed", "paid", "both.left"]
    assert [i.topic for i in topology.stages[2].inputs] == ["w.both.left.repartition", "w.both.right.repartition"]


def test_inputs_that_meet_by_key_need_equal_numbers_of_partitions() -> None:
    name = next(f.name for f in fields(Repartition) if f.name in ("partition_count", "partitions", "count"))
    repartitions = f"""a: {{type: repartition, key: item.id, {name}: 3}}
        b: {{type: repartition, key: item.order, {name}: 5}}"""
    topology, found = compiled(PAIR + repartitions, "placed -> a -> both.left\npaid -> b -> both.right\nboth -> out")
    assert topology is None
    assert [f.code for f in found] == ["SF203"]
    assert "a: 3, b: 5" in found[0].message


def test_a_table_gives_rows_where_its_key_puts_them() -> None:
    """Even where the trigger says the same key: how others partition their topic is not known."""
    nodes = """
        a: {type: event, topic: a, format: json, key: string(k), partitions: 5}
        t: {type: table, key: string(k)}
        p: {type: pair, left_key: string(k), right_key: string(k)}
        """
    topology, found = compiled(nodes, "a -> t -> p.left\n t.gone -> p.right")
    assert topology is not None, found
    assert [t.name for t in topology.topics if t.kind == "repartition"] == ["w.t.in.repartition"]


def partitions_of(topology: Topology | None) -> dict[str, int | None]:
    assert topology is not None
    return {t.name: t.partitions for t in topology.topics if t.kind == "repartition"}


def test_what_is_put_in_has_as_many_partitions_as_the_other_input() -> None:
    text = PAIR + "a: {type: repartition, key: item.id, partition_count: 3}"
    topology, _ = compiled(text, "placed -> a -> both.left\npaid -> both.right\nboth -> out")
    assert partitions_of(topology) == {"w.a.repartition": 3, "w.both.right.repartition": 3}


def test_a_trigger_with_a_key_has_not_moved_its_items() -> None:
    text = PAIR.replace("topic: orders", "topic: orders, key: item.id, partitions: 7")
    topology, _ = compiled(text, "placed -> both.left\npaid -> both.right\nboth -> out")
    assert list(partitions_of(topology)) == ["w.both.left.repartition", "w.both.right.repartition"]


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [
        ({"orders": 2, "payments": 5}, 5),
        ({"orders": 6, "payments": 5, "w.both.right.repartition": 4}, 4),
    ],
)
def test_topics_that_a_stage_reads_together_are_equally_wide(existing: dict[str, int], wanted: int) -> None:
    topology, _ = compiled(PAIR, "placed -> both.left\npaid -> both.right\nboth -> out")
    assert topology is not None
    counts = resolve_partitions(topology, existing)
    assert counts["w.both.left.repartition"] == counts["w.both.right.repartition"] == wanted
    assert counts["w.both.left.ledger"] == wanted


@pytest.mark.parametrize(
    ("said", "moved"),
    [("key: item.id", True), ("partitioned_by: item.id", False), ("partitioned_by: item.order", True)],
)
def test_items_of_a_topic_stay_where_its_producers_put_them_by_key(said: str, moved: bool) -> None:
    text = f"placed: {{type: event, topic: orders, format: json, {said}}}\n s: {{type: seen, key: item.id}}"
    topology, found = compiled(text, "placed -> s")
    assert topology is not None, found
    assert bool(partitions_of(topology)) is moved


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        ("repartition, key: item.id, partition_count: 5", ["SF203"]),
        ("repartition, key: item.id, partition_count: 3", []),
    ],
)
def test_what_meets_at_one_port_needs_equal_numbers_of_partitions(second: str, codes: list[str]) -> None:
    """Else rows of one key would be in two tasks, each with a state of its own."""
    nodes = f"""{HEAD}
        a: {{type: repartition, key: item.id, partition_count: 3}}
        b: {{type: {second}}}
        p: {{type: no-op}}
        fresh: {{type: seen, key: item.id}}"""
    _, found = compiled(nodes, "placed -> a -> fresh -> out\nplaced -> b -> p -> fresh")
    assert [f.code for f in found] == codes


def test_two_topics_that_others_partition_by_a_key_meet_behind_a_repartition() -> None:
    """They may have any numbers of partitions."""
    nodes = """a: {type: event, topic: a, format: json, partitioned_by: item.id}
        b: {type: event, topic: b, format: json, partitioned_by: item.id}
        fresh: {type: seen, key: item.id}"""
    topology, found = compiled(nodes, "a -> fresh\nb -> fresh")
    assert topology is not None, found
    assert list(partitions_of(topology)) == ["w.fresh.in.repartition"]


ALIKE = """a: {type: event, topic: a, format: json, partitioned_by: item.id, partitioner: murmur2}
    b: {type: event, topic: b, format: json, partitioned_by: item.order, partitioner: murmur2}
    both: {type: pair, left_key: item.id, right_key: item.order}
    out: {type: publish, topic: out}"""
MEET = "a -> both.left\nb -> both.right\nboth -> out"


def test_topics_that_are_said_to_be_partitioned_alike_meet_as_they_are() -> None:
    topology, found = compiled(ALIKE, MEET)
    assert topology is not None, found
    assert [[i.topic for i in s.inputs] for s in topology.stages] == [["a", "b"]]
    assert not partitions_of(topology)


@pytest.mark.parametrize(
    ("said", "otherwise"),
    [
        ("item.order, partitioner: murmur2", "item.order, partitioner: crc32"),
        ("item.order, partitioner: murmur2", "item.order"),
        ("item.order, partitioner: murmur2", "item.other, partitioner: murmur2"),
    ],
)
def test_both_topics_are_repartitioned_where_one_is_partitioned_otherwise(said: str, otherwise: str) -> None:
    """Not that one alone: how others choose a partition need not be how it is done here."""
    topology, found = compiled(ALIKE.replace(said, otherwise), MEET)
    assert topology is not None, found
    assert list(partitions_of(topology)) == ["w.both.left.repartition", "w.both.right.repartition"]


def test_a_topic_that_is_said_to_be_partitioned_alike_does_not_meet_a_repartition_as_it_is() -> None:
    text = ALIKE + "\n by: {type: repartition, key: item.order, partition_count: 3}"
    topology, found = compiled(text, MEET.replace("b -> both", "b -> by -> both"))
    assert topology is not None, found
    assert partitions_of(topology) == {"w.by.repartition": 3, "w.both.left.repartition": 3}


def test_a_table_of_a_topic_that_is_said_to_be_partitioned_alike_has_its_repartition() -> None:
    nodes = ALIKE.replace(
        "both: {type: pair, left_key: item.id, right_key: item.order}", "t: {type: table, key: item.id}"
    )
    topology, found = compiled(nodes, "a -> t -> out\nb -> out")
    assert topology is not None, found
    assert list(partitions_of(topology)) == ["w.t.in.repartition"]


def test_a_partitioner_needs_what_it_goes_by() -> None:
    _, found = compiled(ALIKE.replace("partitioned_by: item.id, ", ""), MEET)
    assert "Set `partitioned_by`, or leave it out." in [f.mend for f in found]


@pytest.mark.parametrize("params", ["", "foreign_key: item.id"])
def test_a_finding_names_the_node_that_the_user_wrote(params: str) -> None:
    nodes = f"a: {{type: event, topic: a, format: json}}\n t: {{type: table_join, {params}}}"
    _, found = compiled(nodes, "a -> t.left\na -> t.right")
    assert [f.message.partition(": ")[0] for f in found if f.code == "SF233"] == ["node 't' (table_join)"] * 2


def test_a_duration_in_its_short_form_is_where_its_finding_points() -> None:
    nodes = "a: {type: event, topic: a, format: json}\n d: {type: debounce, key: string(k), quiet: 10s, at_most: 5s}"
    _, found = compiled(nodes, "a -> d")
    text = nodes.splitlines()[1].strip()
    assert [(f.place.line, f.place.column) for f in found if f.code == "SF250"] == [(4, text.index("5s") + 3)]


@pytest.mark.parametrize("taker", ["table, key: n", "publish, topic: out, key: n"])
def test_deletions_without_the_field_of_a_key_say_where_to_name_it(taker: str, tmp_path: Path) -> None:
    (tmp_path / "s.avsc").write_text('{"type":"record","name":"S","fields":[{"name":"n","type":"string"}]}')
    nodes = f"a: {{type: event, topic: a, schema: {tmp_path / 's.avsc'}}}\n t: {{type: {taker}}}"
    wires = "a -> t\na.gone -> t.gone"
    _, found = compiled(nodes, wires)
    told = [f for f in found if f.code == "SF211"]
    assert len(told) == 1, found
    assert "node 't'" in told[0].message
    assert "Set `key` on the event" in told[0].mend
    topology, found = compiled(nodes.replace("schema:", "key: n, schema:"), wires)
    assert topology is not None, found


@pytest.mark.parametrize("steps", ["{}", "{a: 'true'}"])
def test_a_pattern_without_enough_steps_is_told(steps: str) -> None:
    nodes = (
        f"a: {{type: event, topic: a, format: json}}\n p: {{type: pattern, key: string(k), within: 1s, steps: {steps}}}"
    )
    _, found = compiled(nodes, "a -> p")
    assert "SF250" in [f.code for f in found]
