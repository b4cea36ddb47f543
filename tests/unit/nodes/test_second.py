from streamflow.testing.operator_kit import make_node as make
from streamflow.model.types import *
ORDER = record_of({'id': STRING, 'customer': STRING.optional(), 'amount': DOUBLE, 'qty': INT, 'country': STRING})
ROWS = [{'id': 'a', 'customer': 'x', 'amount': 10.0, 'qty': 2, 'country': 'DE'},{'id': 'b', 'customer': None, 'amount': 1000.0, 'qty': 2, 'country': 'FR'},{'id': 'c', 'customer': 'z', 'amount': 100.0, 'qty': 0, 'country': 'US'}]
from streamflow.model.types import *
from streamflow.testing.operator_kit import run_node, Arrival

def arr(rows, ex=2, port="in"):
    return [Arrival(item=r, execution=f"e{i%ex}", ts=i, path=b"", port=port) for i, r in enumerate(rows)]

def test_all():
    for schema in (ORDER, ANY):
        for extent in ("item", "run"):
            for node in [make("sort", by=[{"value": "double(amount)", "descending": True}]), make("limit", count=1), make("limit", count=1, scope="stream"),
                make("batch"), make("batch", size=2), make("batch", size=2, scope="stream"), make("aggregate"),
                make("aggregate", by={"c": "country"}, fields={"n": {"function": "count"}, "s": {"function": "sum", "of": "double(amount)"}, "q": {"function": "sum", "of": "long(qty)"}, "m": {"function": "mean", "of": "long(qty)"},
                   "mx": {"function": "max", "of": "double(amount)"}, "f": {"function": "first", "of": "id"}}),
                make("aggregate", by={"c": "country"}, fields={"n": {"function": "join", "of": "string(id)"}, "d": {"function": "count_distinct", "of": "id"}, "l": {"function": "collect", "of": "id"}})]:
                r = run_node(node, arr(ROWS), schema=schema, extent=extent)
                print(type(node).__name__, extent, r.items(), r.filtered, r.absorbed, r.emitted, r.failed)
            for mode in ("append", "combine_by_key", "combine_by_position", "combine_all", "choose"):
                if mode == "append":
                    r = run_node(make("merge", mode=mode), arr(ROWS), schema=schema, extent=extent)
                else:
                    a = [x for p in zip(arr(ROWS, port="left"), arr(ROWS, port="right")) for x in p]
                    r = run_node(make("merge", mode=mode, keys=["customer"], join="outer"), a, schema={"left": schema, "right": schema}, extent=extent)
                print(mode, extent, r.items(), r.filtered, r.absorbed, r.emitted, r.failed)
