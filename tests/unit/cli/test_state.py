"""`streamflow state`: rows of open windows, of sessions, and of what waits; by key and time; and what it refuses."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Cli

WORKFLOW = """\
workflow: shop
nodes:
  orders: {type: event, topic: orders, schema: order.avsc, time: at}
  hourly:
    {type: window, key: customer, size: 1h, fields: {orders: {function: count}, spent: {function: sum, of: amount}}}
  visits: {type: window, key: customer, shape: session, gap: 10m, fields: {orders: {function: count}}}
  near: {type: window, key: customer, shape: sliding, size: 10m, fields: {orders: {function: count}}}
  ever: {type: window, key: customer, shape: unbounded, emit: update, fields: {orders: {function: count}}}
  threes: {type: batch, size: 3, scope: stream}
  few: {type: limit, count: 2, scope: stream}
  out: {type: publish, topic: out}
  out2: {type: publish, topic: out2}
  out5: {type: publish, topic: out5}
  out6: {type: publish, topic: out6}
  out3: {type: publish, topic: out3}
  out4: {type: publish, topic: out4}
connections:
  - orders -> hourly -> out
  - orders -> visits -> out2
  - orders -> near -> out5
  - orders -> ever -> out6
  - orders -> threes -> out3
  - orders -> few -> out4
"""
ORDER = """\
{"type": "record", "name": "Order", "fields": [
{"name": "customer", "type": "string"}, {"name": "amount", "type": "long"},
{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
"""
ORDERS = """\
{"customer": "ann", "amount": 5, "at": 3600000}
{"customer": "bob", "amount": 7, "at": 3660000}
{"customer": "ann", "amount": 2, "at": 3720000}
{"customer": "ann", "amount": 9, "at": 7200000}
"""
"""A day after 1970: windows from 01:00 and 02:00."""


@pytest.fixture
def shop(cli: Cli) -> Cli:
    (cli.folder / "shop.yaml").write_text(WORKFLOW)
    (cli.folder / "order.avsc").write_text(ORDER)
    cli("send", "orders", "--schema", "order.avsc", "--key", "customer", input=ORDERS)
    return cli


@pytest.fixture
def ran(shop: Cli) -> Cli:
    shop("run", "shop.yaml", "--until-end")
    return shop


def rows(cli: Cli, *args: str) -> list[dict[str, object]]:
    import json

    found = [json.loads(line) for line in cli("state", "shop.yaml", *args, "--json").stdout.splitlines()]
    return sorted(found, key=str)


def test_open_windows_with_their_keys_and_values(ran: Cli) -> None:
    found = [(r["key"], r["window"], r["values"]) for r in rows(ran, "hourly")]
    one, two, three = (f"1970-01-01T0{hour}:00:00.000Z" for hour in (1, 2, 3))
    first, second = {"start": one, "end": two}, {"start": two, "end": three}
    assert ("ann", second, {"customer": "ann", "orders": 1, "spent": 9}) in found
    assert all(window in (first, second) for _, window, _ in found)
    assert [r["values"] for r in rows(ran, "hourly", "ann", "--window", "1970-01-01T02:30/")] == [
        {"customer": "ann", "orders": 1, "spent": 9}
    ]
    assert rows(ran, "hourly", "--window", "/1970-01-01T01:00Z") == []
    assert rows(ran, "hourly", "nobody") == []
    assert len(rows(ran, "hourly", "--limit", "1")) == 1


def test_as_a_table(ran: Cli) -> None:
    told = ran("state", "shop.yaml", "hourly", "ann", "--window", "1970-01-01T02:00/1970-01-01T03:00").stdout
    assert told.splitlines() == [
        "key  window                                                customer  orders  spent",
        "ann  1970-01-01T02:00:00.000Z to 1970-01-01T03:00:00.000Z  ann            1      9",
    ]


def test_sessions_and_what_waits(ran: Cli) -> None:
    visits = [(r["window"], r["values"]) for r in rows(ran, "visits", "ann")]
    last = {"start": "1970-01-01T02:00:00.000Z", "end": "1970-01-01T02:10:00.000Z"}
    last_order = {"customer": "ann", "orders": 1}
    assert (last, last_order) in visits
    near = [(r["window"], r["values"]) for r in rows(ran, "near", "ann")]
    assert ({"start": "1970-01-01T01:50:00.000Z", "end": "1970-01-01T02:00:00.000Z"}, last_order) in near
    ever = [(r["key"], r.get("window"), r["values"]) for r in rows(ran, "ever")]
    assert ever == [("ann", None, {"customer": "ann", "orders": 3}), ("bob", None, {"customer": "bob", "orders": 1})]
    waiting = [r["values"] for r in rows(ran, "threes")]
    assert all(set(values) == {"customer", "amount", "at"} for values in waiting)  # type: ignore[arg-type]
    assert sum(int(r["values"]["seen"]) for r in rows(ran, "few")) == 4  # type: ignore[index]


def test_state_is_the_same_wherever_it_is_kept(shop: Cli) -> None:
    shop("run", "shop.yaml", "--until-end", "--state", "rocksdb", "--state-dir", "kept")
    on_disk = rows(shop, "hourly")
    assert (shop.folder / "kept" / "shop").is_dir()
    shop("reset", "shop.yaml", "--yes")
    shop("run", "shop.yaml", "--until-end")
    assert rows(shop, "hourly") == on_disk


def test_nothing_kept_yet(shop: Cli) -> None:
    assert shop("state", "shop.yaml", "hourly").stdout == "nothing is kept\n"


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["hourli"], 2, "there is no node 'hourli'. Did you mean 'hourly'?"),
        (["orders"], 1, "node 'orders' keeps no state. These do: ever, few, hourly, near, threes, visits."),
        (["hourly", "--window", "12:00"], 2, "--window is FROM/TO"),
        (["hourly", "--window", "noon/"], 2, "'noon' is no ISO time"),
    ],
)
def test_what_is_asked_wrongly_is_told(shop: Cli, args: list[str], code: int, told: str) -> None:
    assert told in shop("state", "shop.yaml", *args, code=code).stderr


def test_a_folder_of_state_for_state_in_memory_is_refused(shop: Cli) -> None:
    assert "Add --state rocksdb" in shop("run", "shop.yaml", "--state-dir", "x", code=2).stderr


def test_times_that_no_calendar_reaches_are_numbers(cli: Cli) -> None:
    (cli.folder / "shop.yaml").write_text("""\
workflow: shop
nodes:
  orders: {type: event, topic: orders, format: json, time: long(at)}
  once: {type: dedupe, key: string(k), within: 10ms}
  out: {type: publish, topic: out}
connections: [orders -> once -> out]
""")
    far = 2**60
    cli("send", "orders", "--partitions", "1", input="".join(f'{{"k": "a", "at": {at}}}\n' for at in (far - 10, far)))
    cli("run", "shop.yaml", "--until-end")
    assert [r["values"] for r in rows(cli, "once")] == [{"passed": f"{at} ms"} for at in (far - 10, far)]


def test_what_a_global_table_holds_is_on_its_topic(cli: Cli) -> None:
    (cli.folder / "shop.yaml").write_text("""\
workflow: shop
nodes:
  carriers: {type: event, topic: carriers, schema: carrier.avsc, format: json}
  by_code: {type: table, key: code, scope: global}
  orders: {type: event, topic: orders, schema: carrier.avsc, format: json}
  named: {type: lookup, key: code, prefix: carrier_}
  out: {type: publish, topic: out, format: json}
connections: [carriers -> by_code -> named.table, orders -> named -> out]
""")
    (cli.folder / "carrier.avsc").write_text(
        '{"type": "record", "name": "Carrier", "fields": [{"name": "code", "type": "string"}]}'
    )
    cli("send", "carriers", "--partitions", "3", input='{"code": "a"}\n{"code": "b"}\n')
    cli("send", "orders", "--partitions", "2", input='{"code": "a"}\n{"code": "c"}\n')
    cli("run", "shop.yaml", "--until-end")
    assert [r["value"] for r in cli.tail("out")] == [{"code": "a", "carrier_code": "a"}]
    told = cli("state", "shop.yaml", "by_code", code=1).stderr
    assert "'by_code' is a global table: what it holds is on its topic 'carriers'" in told
    found = cli.json("lag", "shop.yaml")
    assert {row["topic"] for row in found["tasks"]} == {"orders", "carriers"}
    assert (found["lag"], found["standbys"]) == (0, [])
    assert cli.json("audit", "shop.yaml")["ok"]
    cli("reset", "shop.yaml", "--yes")
    cli("run", "shop.yaml", "--until-end")
    assert len(cli.tail("out")) == 2
