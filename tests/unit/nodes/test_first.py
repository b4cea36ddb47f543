from streamflow.model.types import DOUBLE, INT, LONG, STRING, TIMESTAMP_MS, record_of, array_of, ANY
from streamflow.nodes import BUILTIN, registry
from streamflow.sdk.params import RawParams, build
from streamflow.testing.operator_kit import run_node

ORDER = record_of({"id": STRING, "customer": STRING.optional(), "amount": DOUBLE, "qty": INT, "country": STRING})
ROWS = [
    {"id": "a", "customer": "x", "amount": 10.0, "qty": 2, "country": "DE"},
    {"id": "b", "customer": None, "amount": 1000.0, "qty": 2, "country": "FR"},
    {"id": "c", "customer": "z", "amount": 100.0, "qty": 0, "country": "US"},
]


def make(kind, **params):
    node, findings = build(registry().get(kind), RawParams(values=params))
    assert node is not None, findings
    return node


def test_all():
    r = run_node(make("if", when="amount * qty > 500"), ROWS, schema=ORDER)
    assert [i["id"] for i in r.items("true")] == ["b"]
    r = run_node(make("filter", when='country in ["DE"]'), ROWS, schema=ORDER)
    assert r.filtered == 2
    r = run_node(make("set", fields={"total": "amount * qty", "tier": '"gold" if total > 1000 else "std"'}), ROWS, schema=ORDER)
    print(r.items())
    r = run_node(make("set", fields={"total": "amount * qty", "tier": '"gold" if total > 1000 else "std"'}), ROWS, schema=ANY)
    print(r.items())
    r = run_node(make("set", fields={"total": "amount // qty", "t": "1"}), [*ROWS, 3, {"amount": "x"}], schema=ANY)
    print(r.items(), r.failed)
    r = run_node(make("set", fields={"total": "1 // qty", "t": "1"}, remove=["id"]), ROWS, schema=ORDER)
    print(r.items(), r.failed)
    r = run_node(make("publish", topic="t", key="customer", headers={"a": "id"}), ROWS, schema=ORDER)
    print(r.outputs["records"])
    r = run_node(make("publish", topic="t", schema="s"), ROWS, schema=ORDER, schemas={"s": record_of({"customer": STRING, "qty": LONG, "x": STRING.optional()})})
    print(r.outputs["records"], r.failed)
    r = run_node(make("switch", value="country", cases=[{"equals": "DE", "port": "g"}]), ROWS, schema=ORDER)
    print(r.outputs.keys())
    r = run_node(make("rename", fields={"id": "nr"}), ROWS, schema=ANY)
    print(r.items())
    r = run_node(make("template", text="hi {{ id }}"), ROWS, schema=ORDER)
    print(r.items())
    r = run_node(make("split", field="l", index="i", keep=True), [{"l": [1, 2], "x": 3}, {"l": []}, {"l": 3}], schema=ANY)
    print(r.items(), r.failed, r.filtered)
    r = run_node(make("split", field="l", index="i", keep=True), [{"l": [1, 2], "x": 3}, {"l": []}], schema=record_of({"l": array_of(LONG), "x": LONG.optional()}))
    print(r.items(), r.failed, r.filtered, r.outputs["out"])
    r = run_node(make("stop-and-error", message="bad {{ id }}", when="qty == 0"), ROWS, schema=ORDER)
    print(r.items(), r.failed)
    r = run_node(make("repartition", key="customer"), ROWS, schema=ORDER)
    r = run_node(make("function", function="a:b"), ROWS, schema=ORDER, functions={"a:b": lambda d: [d, {"q": 1 / d["qty"]}]})
    print(r.items(), r.failed)
    r = run_node(make("function", function="a:b", mode="frame"), ROWS, schema=ORDER, functions={"a:b": lambda d: d.with_columns(z=d["qty"] * 2)})
    print(r.items(), r.failed)
