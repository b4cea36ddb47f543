"""Node kinds one by one: what they make of typed and of untyped items, and what they refuse."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from streamflow.model.types import (
    ANY,
    BYTES,
    DOUBLE,
    INT,
    LONG,
    STRING,
    Field,
    Schema,
    Type,
    array_of,
    polars_dtype,
    record_of,
)  # fmt: skip
from streamflow.sdk.operator import NO_ROW
from streamflow.testing.operator_kit import Arrival, Ran, check_node, make_node, run_node

ORDER = record_of({"id": STRING, "customer": STRING.optional(), "amount": DOUBLE, "qty": INT})
ROWS = [
    {"id": "a", "customer": "x", "amount": 10.0, "qty": 2},
    {"id": "b", "customer": None, "amount": 1000.0, "qty": 2},
    {"id": "c", "customer": "z", "amount": 100.0, "qty": 0},
]
BOTH = pytest.mark.parametrize("schema", [ORDER, ANY], ids=["typed", "untyped"])


def ids(ran: Ran, port: str = "out") -> list[Any]:
    return [item.get("id") for item in ran.items(port)]


def codes(ran: Ran) -> list[str]:
    return [code for _, code, _ in ran.failed]


@BOTH
def test_if_sends_null_and_false_to_false(schema: Schema) -> None:
    ran = run_node(make_node("if", when='customer == "x"'), ROWS, schema=schema)
    assert (ids(ran, "true"), ids(ran, "false")) == (["a"], ["b", "c"])


@BOTH
def test_filter_counts_what_it_leaves_out(schema: Schema) -> None:
    ran = run_node(make_node("filter", when="amount / qty > 5"), ROWS, schema=schema)
    assert (ids(ran), ran.filtered, codes(ran)) == (["b"], 1, ["division_by_zero"])


@BOTH
def test_set_computes_in_order_and_keeps_places(schema: Schema) -> None:
    node = make_node(
        "set", fields={"amount": "amount * 2", "total": "amount + 1", "old": "item.amount"}, remove=["qty"]
    )
    ran = run_node(node, ROWS[:1], schema=schema)
    assert ran.items() == [{"id": "a", "customer": "x", "amount": 20.0, "total": 21.0, "old": 10.0}]
    assert list(ran.items()[0]) == ["id", "customer", "amount", "total", "old"]


@BOTH
def test_set_names_the_field_that_failed(schema: Schema) -> None:
    ran = run_node(make_node("set", fields={"fine": "1", "share": "10 // qty"}), ROWS, schema=schema)
    assert ids(ran) == ["a", "b"]
    (_, code, message) = ran.failed[0]
    assert (code, message) == ("division_by_zero", "fields.share (10 // qty): division by zero")


def test_set_of_nothing_kept_makes_typed_items_of_json() -> None:
    node = make_node("set", fields={"id": "string(id)", "n": "long(qty)"}, keep=[])
    ran = run_node(node, ROWS, schema=ANY)
    assert ran.schemas["out"].kind == "record"
    assert ran.items()[0] == {"id": "a", "n": 2}


def test_set_longer_than_one_expression_may_be_gives_the_same() -> None:
    fields = {f"field_{n}": f'concat("{"x" * 90}", string(id))' for n in range(60)}
    ran = run_node(make_node("set", fields=fields), [*ROWS, 5], schema=ANY)
    assert ran.items()[0]["field_59"] == "x" * 90 + "a"
    assert codes(ran) == ["wrong_type"]


def test_publish_with_an_inferred_schema_hands_the_columns_on() -> None:
    ran = run_node(make_node("publish", topic="t"), ROWS, schema=ORDER)
    assert ran.items("records") == ROWS
    assert ran.outputs["records"].height == 3


def test_publish_sets_key_and_headers() -> None:
    ran = run_node(make_node("publish", topic="t", key="customer", headers={"q": "qty"}), ROWS, schema=ORDER)
    frame = ran.outputs["records"]
    assert frame["@key"].to_list() == [b"x", None, b"z"]
    assert frame["@headers"].to_list()[0] == [{"key": "q", "value": b"2"}]


def test_publish_fits_items_to_a_schema_and_refuses_values_before_they_are_sent() -> None:
    target = record_of({"customer": STRING, "qty": LONG, "note": STRING.optional()})
    ran = run_node(make_node("publish", topic="t", schema="s"), ROWS, schema=ORDER, schemas={"s": target})
    assert ran.items("records") == [
        {"customer": "x", "qty": 2, "note": None},
        {"customer": "z", "qty": 0, "note": None},
    ]
    assert ran.failed == [(ROWS[1], "null_value", "schema: customer is null, and the schema requires a value")]


def test_publish_reports_what_can_never_fit() -> None:
    target = record_of({"amount": STRING, "missing": LONG})
    _, findings = check_node(make_node("publish", topic="t", schema="s"), {"in": ORDER}, schemas={"s": target})
    assert [f.code for f in findings] == ["SF255", "SF255"]


def test_publish_types_json_by_its_schema() -> None:
    target = record_of({"id": STRING, "qty": INT})
    rows = [*ROWS[:1], {"id": 5, "qty": 1}, {"qty": 1}]
    ran = run_node(make_node("publish", topic="t", schema="s"), rows, schema=ANY, schemas={"s": target})
    assert ran.items("records") == [{"id": "a", "qty": 2}]
    assert len(ran.failed) == 2


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        (LONG, INT, 2**31, "overflow"),
        (LONG, INT, 5, 5),
        (STRING, Type(kind="enum", symbols=("A", "B")), "C", "not_in_enum"),
        (STRING, Type(kind="enum", symbols=("A", "B")), "B", "B"),
        (BYTES, Type(kind="fixed", size_bytes=2), b"abc", "wrong_size"),
        (array_of(LONG), array_of(INT), [1, 2**40], "overflow"),
        (array_of(LONG), array_of(DOUBLE), [1, 2], [1.0, 2.0]),
        (record_of({"a": LONG, "b": LONG}), record_of({"a": DOUBLE}), {"a": 1, "b": 2}, {"a": 1.0}),
        (LONG, Type(kind="union", branches=(STRING, LONG)), 7, {"string": None, "long": 7}),
    ],
)
def test_values_fit_a_schema_or_say_why_not(source: Type, target: Type, value: Any, expected: Any) -> None:
    schemas = {"s": Type(kind="record", fields=(Field(name="v", type=target),))}
    ran = run_node(
        make_node("publish", topic="t", schema="s"), [{"v": value}], schema=record_of({"v": source}), schemas=schemas
    )
    if ran.failed:
        assert codes(ran) == [expected]
    else:
        assert ran.items("records") == [{"v": expected}]
        assert ran.outputs["records"]["v"].dtype == polars_dtype(target)


@BOTH
def test_switch_asks_no_further_once_a_case_matched(schema: Schema) -> None:
    cases = [{"when": "qty == 0", "port": "none"}, {"when": "10 // qty > 1", "port": "some"}]
    ran = run_node(make_node("switch", cases=cases), ROWS, schema=schema)
    assert (ids(ran, "none"), ids(ran, "some"), ran.failed) == (["c"], ["a", "b"], [])


@BOTH
def test_switch_gives_a_copy_to_every_case(schema: Schema) -> None:
    cases = [{"equals": 2, "port": "two"}, {"equals": 2, "port": "again"}]
    ran = run_node(make_node("switch", value="qty", mode="all", cases=cases), ROWS, schema=schema)
    assert (ids(ran, "two"), ids(ran, "again"), ids(ran, "default")) == (["a", "b"], ["a", "b"], ["c"])


@BOTH
def test_rename_swaps_and_refuses_collisions(schema: Schema) -> None:
    ran = run_node(make_node("rename", fields={"id": "customer", "customer": "id"}), ROWS[:1], schema=schema)
    assert ran.items() == [{"customer": "a", "id": "x", "amount": 10.0, "qty": 2}]
    clash = make_node("rename", fields={"id": "customer"})
    if schema == ANY:
        assert codes(run_node(clash, ROWS[:1], schema=ANY)) == ["collision"]
    else:
        assert [f.code for f in check_node(clash, {"in": ORDER})[1]] == ["SF253"]


def test_misspelt_fields_are_found_with_a_suggestion() -> None:
    _, findings = check_node(make_node("rename", fields={"amuont": "sum"}), {"in": ORDER})
    assert findings[0].code == "SF251"
    assert "'amount'" in findings[0].mend


def test_split_makes_children_with_lineage() -> None:
    schema = record_of({"n": LONG, "lines": array_of(record_of({"sku": STRING})).optional()})
    rows = [{"n": 1, "lines": [{"sku": "x"}, {"sku": "y"}]}, {"n": 2, "lines": []}, {"n": 3, "lines": None}]
    ran = run_node(make_node("split", field="lines", index="at"), rows, schema=schema)
    assert ran.items() == [{"sku": "x", "at": 0}, {"sku": "y", "at": 1}]
    assert ran.filtered == 2
    assert ran.outputs["out"]["@path"].to_list() == [b"\0\0\0\0", b"\0\0\0\1"]


def test_stop_and_error_fails_with_the_code_that_halts() -> None:
    ran = run_node(make_node("stop-and-error", message="no {{ id }}", when="qty == 0"), ROWS, schema=ORDER)
    assert ran.failed == [(ROWS[2], "stopped", "no c")]
    assert ids(ran) == ["a", "b"]


def test_a_function_that_raises_costs_its_item_only() -> None:
    node = make_node("function", function="m:f")
    ran = run_node(node, ROWS, schema=ORDER, functions={"m:f": lambda item: {"share": 10 / item["qty"]}})
    assert ran.items() == [{"share": 5.0}, {"share": 5.0}]
    assert ran.failed[0][1:] == ("exception", "function: ZeroDivisionError: division by zero")


def test_what_a_function_returns_is_held_to_its_schema() -> None:
    node = make_node("function", function="m:f", schema="s")
    made = {"a": {"n": 1}, "b": [{"n": 2}, {"n": "x"}], "c": None}
    ran = run_node(
        node, ROWS, schema=ORDER, functions={"m:f": lambda i: made[i["id"]]}, schemas={"s": record_of({"n": LONG})}
    )
    assert (ran.items(), codes(ran), ran.filtered) == ([{"n": 1}], ["bad_result"], 1)


def test_a_frame_function_is_halved_down_to_the_failing_row() -> None:
    calls = []

    def function(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(frame.height)
        if (frame["qty"] == 0).any():
            raise ValueError("no quantity")
        return frame.with_columns(share=pl.col("amount") / pl.col("qty"))

    ran = run_node(make_node("code", function="m:f", mode="frame"), ROWS, schema=ORDER, functions={"m:f": function})
    assert [i["share"] for i in ran.items()] == [5.0, 500.0]
    assert ran.failed == [(ROWS[2], "exception", "function: ValueError: no quantity")]


def test_a_frame_function_must_say_which_rows_it_returns() -> None:
    node = make_node("code", function="m:f", mode="frame")
    functions = {"m:f": lambda frame: frame.drop("@row").head(2)}
    assert codes(run_node(node, ROWS, schema=ORDER, functions=functions)) == []  # halves of two rows or one fit
    functions = {"m:f": lambda frame: frame.drop("@row").head(0)}
    assert codes(run_node(node, ROWS, schema=ORDER, functions=functions)) == ["bad_result"] * 3


def runs(*items: dict[str, Any], port: str = "in", execution: str = "run") -> list[Arrival]:
    return [Arrival(item=i, port=port, execution=execution) for i in items]


@BOTH
def test_sort_puts_nulls_where_told_and_is_stable(schema: Schema) -> None:
    node = make_node(
        "sort", by=[{"value": "long(qty)", "descending": True}, {"value": "string(customer)", "nulls": "first"}]
    )
    ran = run_node(node, runs(*ROWS), schema=schema, extent="run")
    assert ids(ran) == ["b", "a", "c"]
    assert (ran.absorbed, ran.emitted) == (3, 3)
    assert set(ran.outputs["out"]["@row"]) == {NO_ROW}


def test_sort_by_json_values_needs_a_type() -> None:
    _, findings = check_node(make_node("sort", by=[{"value": "qty"}]), {"in": ANY})
    assert [f.code for f in findings] == ["SF252"]


def test_sort_by_count_sorts_each_so_many_items() -> None:
    ran = run_node(make_node("sort", by=[{"value": "amount"}], count=2), ROWS, schema=ORDER, cuts=(1,))
    assert ids(ran) == ["a", "b"]
    assert ran.absorbed == 2


def test_aggregate_groups_in_order_of_arrival() -> None:
    node = make_node(
        "aggregate",
        by={"qty": "qty"},
        fields={
            "n": {"function": "count"},
            "sum": {"function": "sum", "of": "amount"},
            "who": {"function": "join", "of": "customer"},
        },
    )
    ran = run_node(node, runs(*ROWS), schema=ORDER, extent="run")
    assert ran.items() == [{"qty": 2, "n": 2, "sum": 1010.0, "who": "x"}, {"qty": 0, "n": 1, "sum": 100.0, "who": "z"}]


def test_a_sum_that_does_not_fit_fails_the_execution() -> None:
    node = make_node("aggregate", fields={"sum": {"function": "sum", "of": "n"}})
    rows = [{"n": 2**62}, {"n": 2**62}]
    for extent in ("item", "run"):
        ran = run_node(node, runs(*rows), schema=record_of({"n": LONG}), extent=extent)
        assert set(codes(ran)) == {"overflow"}


def test_min_and_max_take_nan_for_the_greatest() -> None:
    node = make_node(
        "aggregate", fields={"low": {"function": "min", "of": "x"}, "high": {"function": "max", "of": "x"}}
    )
    rows = [{"x": float("nan")}, {"x": 1.0}, {"x": 5.0}]
    ran = run_node(node, runs(*rows), schema=record_of({"x": DOUBLE}), extent="run", cuts=(1, 2))
    assert ran.items()[0]["low"] == 1.0
    assert ran.items()[0]["high"] != ran.items()[0]["high"]


def test_aggregate_has_the_functions_that_windows_have() -> None:
    fields = {
        "best": {"function": "max_by", "of": "s", "by": "n"},
        "worst": {"function": "min_by", "of": "s", "by": "n"},
        "top": {"function": "top", "of": "s", "by": "n", "k": 2},
        "least": {"function": "top", "of": "0 - n", "k": 1},
        "about": {"function": "approx_count_distinct", "of": "s"},
        "q": {"function": "quantiles", "of": "n", "q": [0, 0.5, 1]},
    }
    node = make_node("aggregate", fields=fields)
    rows = [{"s": "a", "n": 5}, {"s": "b", "n": 9}, {"s": "c", "n": 9}, {"s": "d", "n": -100}]
    expected = {
        "best": "b", "worst": "d", "top": [{"value": "b", "by": 9}, {"value": "c", "by": 9}], "least": [100],
        "about": 4, "q": [-100.0, 5.03125, 9.0],
    }  # fmt: skip
    schema = record_of({"s": STRING, "n": LONG})
    assert run_node(node, runs(*rows), schema=schema, extent="item").items() == [expected]
    assert run_node(node, runs(*rows), schema=schema, extent="run", cuts=(1, 3)).items() == [expected]


@BOTH
def test_merge_by_key_joins_within_an_execution(schema: Schema) -> None:
    node = make_node("merge", mode="combine_by_key", keys=["id"], join="left")
    left = runs(*ROWS, port="left")
    right = runs({**ROWS[0], "qty": 9}, port="right") + runs(ROWS[1], port="right", execution="other")
    ran = run_node(node, left + right, schema={"left": schema, "right": schema}, extent="run")
    found = [(i["id"], i.get("qty_right")) for i in ran.items()]
    assert found == [("a", 9), ("b", None), ("c", None)]


def test_merge_choose_takes_the_other_port_where_one_is_empty() -> None:
    node = make_node("merge", mode="choose", prefer="right")
    rows = (
        runs(ROWS[0], port="left", execution="1")
        + runs(ROWS[1], port="left", execution="2")
        + runs(ROWS[2], port="right", execution="2")
    )
    ran = run_node(node, rows, schema={"left": ORDER, "right": ORDER}, extent="run")
    assert ids(ran) == ["a", "c"]


def test_merge_reports_names_that_would_collide() -> None:
    node = make_node("merge", mode="combine_all", right_suffix="")
    _, findings = check_node(node, {"left": ORDER, "right": ORDER})
    assert {f.code for f in findings} == {"SF253"}


def test_batches_of_a_stream_go_across_steps() -> None:
    ran = run_node(make_node("batch", size=2, scope="stream"), ROWS, schema=ORDER, cuts=(1,), aborted=(1,))
    (only,) = ran.items()
    assert ([i["id"] for i in only["items"]], only["count"], only["index"]) == (["a", "b"], 2, 0)
    assert ran.absorbed == 2


def test_limit_counts_per_execution() -> None:
    rows = runs(*ROWS, execution="1") + runs(*ROWS, execution="2")
    ran = run_node(make_node("limit", count=1, offset=1), rows, schema=ORDER, extent="run", cuts=(1, 4))
    assert ids(ran) == ["b", "b"]
