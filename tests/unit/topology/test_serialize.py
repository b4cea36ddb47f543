"""Plans as JSON: what comes back is what went in, and what is no plan is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs import CodecSpec
from streamflow.model.policies import BreakerPolicy, ErrorPolicy, RetryPolicy, RunPolicy
from streamflow.model.types import ANY, BOOL, DOUBLE, LONG, STRING, Field, Type, array_of, map_of, record_of
from streamflow.topology.digest import digest
from streamflow.topology.mermaid import to_mermaid
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan, TopicPlan, Topology, Wire
from streamflow.topology.serialize import PlanError, from_json, to_json
from streamflow.topology.svg import to_svg


def topology(schema: Type, **more: Any) -> Topology:
    codec = CodecSpec(format="avro", schema=schema, name="n")
    node = NodePlan(
        id="n", kind="set", params={"fields": {"a": "1"}, "keep": [], "deep": [None, True, 1.5, {"x": []}]},
        inputs={"in": schema}, outputs={"out": schema}, wires={"in": (Wire(node="t"), Wire(node="m", port="error"))},
        errors=ErrorPolicy(
            on_error="pass", value={"a": [1, None]},
            breaker=BreakerPolicy(failures=1, within_ms=2, probe_after_ms=3),
            retry=RetryPolicy(attempts=3, delay_ms=5, jitter=0.5, codes=("x",), delay_max_ms=9, mode="park"),
        ),
        keep=("a",), extent="file",
    )  # fmt: skip
    stage = StagePlan(
        id="t", inputs=(InputPlan(node="t", topic="in", schema=schema, codec=codec),), nodes=(node,), needs=("@key",)
    )
    topic = TopicPlan(name="in", kind="source", codec=codec, why="it is read", partitions=3, config={"a.b": "c"})
    return Topology(
        workflow="w",
        stages=(stage,),
        topics=(topic,),
        run=RunPolicy(guarantee="at_least_once"),
        vars={"v": [1]},
        **more,
    )


LEAVES = st.sampled_from(
    [
        BOOL, LONG, STRING, ANY, DOUBLE.optional(), Type(kind="decimal", precision=9, scale=2),
        Type(kind="enum", name="E", symbols=("a", "b"), doc="d", aliases=("F",)), Type(kind="timestamp", unit="us"),
        Type(kind="fixed", name="x.F", size_bytes=3), Type(kind="union", branches=(LONG, STRING), nullable=True),
    ]
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "c"])


def records(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    fields = st.lists(
        st.builds(
            Field, name=NAMES, type=inner, doc=st.sampled_from(["", "d"]), aliases=st.sampled_from([(), ("z",)]),
            has_default=st.just(True), default=st.sampled_from([None, 1, "x", [1], {"k": []}]),
        )
        | st.builds(Field, name=NAMES, type=inner),
        max_size=3,
    )  # fmt: skip
    return st.builds(
        lambda f, n, null: Type(kind="record", fields=tuple(f), name=n, nullable=null),
        fields, st.sampled_from(["", "R", "x.R"]), st.booleans(),
    )  # fmt: skip


TYPES = st.recursive(LEAVES, lambda t: records(t) | t.map(array_of) | t.map(map_of), max_leaves=8)


@given(records(TYPES))
def test_a_plan_comes_back_as_it_was(schema: Type) -> None:
    plan = topology(schema, schemas={"a.avsc": schema})
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


def test_a_record_stands_once_however_often_it_is_used() -> None:
    text = json.dumps(to_json(topology(record_of({"only_here": LONG}, name="shop.Order"))))
    assert text.count("only_here") == 1


def test_the_digest_is_of_what_runs_not_of_where_it_lies() -> None:
    plan = topology(record_of({"a": LONG}))
    assert digest(plan) == digest(replace(plan, base_folder="/elsewhere"))
    assert digest(plan) != digest(replace(plan, vars={"v": [2]}))
    assert digest(plan) != digest(replace(plan, run=replace(plan.run, commit_interval_ms=5)))


def spoil(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    plan = to_json(topology(record_of({"a": LONG}, name="R")))
    place: Any = plan
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return plan


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version",), 2, "version 2"),
        (("format",), "other", "no plan"),
        (("workflow",), 7, "plan.workflow: expected str"),
        (("stages",), {}, "plan.stages: expected a list"),
        (("stages", 0, "nodes", 0, "knid"), "set", "unknown key 'knid'"),
        (("stages", 0, "nodes", 0, "extent"), "year", "none of"),
        (("stages", 0, "inputs", 0, "schema"), "#Nothing", "no type 'Nothing'"),
        (("stages", 0, "inputs", 0, "schema"), "longish", "is no type"),
        (("stages", 0, "inputs", 0, "schema"), {"type": "record", "fields": [{"name": "a"}]}, "'type' is missing"),
        (("topics", 0, "partitions"), True, "expected int"),
        (("types", "R", "fields", 0, "type"), "#R", "before it is named"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(path: tuple[Any, ...], value: object, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        from_json(spoil(path, value))


def test_a_short_text_cannot_stand_for_a_huge_type() -> None:
    """Each type names the one before twenty times: 20^20 fields in twenty lines."""
    plan = to_json(topology(record_of({"a": LONG}, name="R")))
    plan["types"] = {"R": plan["types"]["R"]}
    for level in range(20):
        before = "#R" if level == 0 else f"#R{level - 1}"
        plan["types"][f"R{level}"] = {
            "type": "record",
            "fields": [{"name": f"f{i}", "type": before} for i in range(20)],
        }
    with pytest.raises(PlanError, match="at most"):
        from_json(plan)


def test_deep_nesting_is_refused() -> None:
    value: object = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(PlanError, match="levels"):
        from_json(spoil(("vars",), {"v": value}))


def test_pictures_quote_whatever_an_id_holds() -> None:
    evil = '<script>"&\x00]|`'
    plan = topology(record_of({"a": LONG}))
    plan = replace(plan, workflow=evil, topics=(replace(plan.topics[0], why=evil),))
    stage = replace(plan.stages[0], id=evil, nodes=(replace(plan.stages[0].nodes[0], id=evil, wires={}),))
    plan = replace(plan, stages=(stage,))
    svg, mermaid = to_svg(plan), to_mermaid(plan)
    assert "<script" not in svg
    assert "\x00" not in svg
    assert "<script" not in mermaid
    assert "`" not in mermaid
