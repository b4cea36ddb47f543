"""Avro schemas and the model's types: the whole table, names, bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamflow.codecs.avrotypes import enum_default, schema_from_avro, schema_to_avro
from streamflow.codecs.evolution import check
from streamflow.model.types import ANY, LONG, STRING, Type, array_of, map_of, record_of
from streamflow.sdk.errors import SchemaError


def of(avro: Any) -> Type:
    field = schema_from_avro({"type": "record", "name": "R", "fields": [{"name": "f", "type": avro}]}).fields[0]
    return field.type


@pytest.mark.parametrize(
    ("avro", "spelt"),
    [
        ("boolean", "bool"), (["null", "long"], "long?"), (["long", "null"], "long?"), (["null"], "null"),
        ({"type": "int", "logicalType": "date"}, "date"), ({"type": "int", "logicalType": "time-millis"}, "time(ms)"),
        ({"type": "long", "logicalType": "time-micros"}, "time(us)"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "timestamp(us)"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, "local(ms)"),
        ({"type": "string", "logicalType": "uuid"}, "uuid"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "decimal(9, 2)"),
        ({"type": "bytes", "logicalType": "decimal"}, "bytes"),
        ({"type": "fixed", "name": "D", "size": 2, "logicalType": "decimal", "precision": 9}, "fixed(2)"),
        ({"type": "int", "logicalType": "timestamp-millis"}, "int"),
        ({"type": "long", "logicalType": "duration"}, "long"),
        ({"type": "array", "items": {"type": "map", "values": ["null", "int"]}}, "array<map<int?>>"),
        (["int", "string", "null"], "int | string?"), ({"type": {"type": "string"}}, "string"),
        ({"type": "bytes", "logicalType": "json"}, "any"),
    ],
)  # fmt: skip
def test_avro_types_have_a_type(avro: Any, spelt: str) -> None:
    assert str(of(avro)) == spelt


def test_named_types_are_reused_and_namespaced() -> None:
    schema = schema_from_avro(
        {
            "type": "record", "name": "Order", "namespace": "shop", "doc": "one order", "aliases": ["Purchase"],
            "fields": [
                {"name": "a", "type": {"type": "enum", "name": "State", "symbols": ["ON", "OFF"], "default": "OFF"}},
                {"name": "b", "type": ["null", "State"], "aliases": ["old_b"], "doc": "why"},
                {"name": "c", "type": "shop.State"},
            ],
        }
    )  # fmt: skip
    assert schema.name == "shop.Order"
    assert schema.aliases == ("shop.Purchase",)
    assert [f.type.name for f in schema.fields] == ["shop.State"] * 3
    assert enum_default(schema.fields[0].type) == "OFF"
    again = schema_to_avro(schema)
    assert json.dumps(again).count('"symbols"') == 1
    assert schema_from_avro(again) == schema


def test_unnamed_types_get_names_from_where_they_stand() -> None:
    inner = record_of({"x": LONG})
    avro = schema_to_avro(record_of({"a": inner, "b": array_of(record_of({"y": STRING})), "c": ANY}), name="shop.Order")
    assert avro["name"] == "shop.Order"
    names = [avro["fields"][0]["type"]["name"], avro["fields"][1]["type"]["items"]["name"]]
    assert names == ["Order_a", "Order_b"]
    twice = record_of({"a": record_of({"x": LONG}, name="T"), "b": record_of({"x": STRING}, name="T")})
    fields = schema_to_avro(twice)["fields"]
    assert [f["type"]["name"] for f in fields] == ["T", "T_2"]


@pytest.mark.parametrize(
    "avro",
    [
        "nonsense", {}, 5, [], {"type": "record", "name": "R"}, {"type": "record", "name": "1", "fields": []},
        {"type": "enum", "name": "E", "symbols": ["A", "A"]},
        {"type": "enum", "name": "E", "symbols": ["A"], "default": "B"},
        {"type": "fixed", "name": "F", "size": -1}, {"type": "array"}, ["int", "int"], ["int", ["string"]],
        {"type": "bytes", "logicalType": "decimal", "precision": 39},
        {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]},
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused(avro: Any) -> None:
    with pytest.raises(SchemaError):
        of(avro)


def test_schemas_are_bounded() -> None:
    deep: Any = "int"
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(SchemaError, match="deeper"):
        of(deep)
    fields = [{"name": f"f{i}", "type": "int"} for i in range(20)]
    wide: Any = {"type": "record", "name": "R0", "fields": fields}
    for level in range(1, 5):  # each level names the one below ten times
        uses = [{"name": "a", "type": wide}, *({"name": f"b{i}", "type": f"R{level - 1}"} for i in range(10))]
        wide = {"type": "record", "name": f"R{level}", "fields": uses}
    with pytest.raises(SchemaError, match="more than"):
        schema_from_avro(wide)


def test_incompatibilities_name_the_field() -> None:
    writer = record_of({"a": LONG, "b": STRING.optional(), "c": array_of(record_of({"x": LONG}))})
    reader = record_of({"a": Type(kind="int"), "b": STRING, "c": array_of(record_of({"x": map_of(LONG)})), "d": LONG})
    found = check(writer, reader)
    assert [line.split(":")[0] for line in found] == ["field a", "field b", "field c[].x", "field d"]
    assert check(writer, writer) == []
