"""`streamflow executions retry | resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.records import Record

WORKFLOW = """workflow: inverses
nodes:
  numbers: {type: event, topic: numbers, format: json}
  doubled: {type: set, fields: {double: 2 * long(n)}}
  inverse: {type: set, fields: {inverse: 100 // long(n)}}
  keyed: {type: repartition, key: string(n), partition_count: 2}
  told: {type: set, fields: {was: nodes.doubled.double, by: meta.execution}}
  out: {type: publish, topic: inverses, format: json}
connections:
  - numbers -> doubled -> inverse -> keyed -> told -> out
policies: {executions: all, recovery: commands}
"""
FIXED = WORKFLOW.replace("100 // long(n)", "100 // long(n) if long(n) != 0 else 0")
RECORDS = [Record(0, 1_000 * n, b"k", value, []) for n, value in enumerate((b'{"n": 0}', b'{"n": 5}', b'{"n": 10}'))]


@pytest.fixture
def ran(cli: Any) -> str:
    """Three executions, one of which failed."""
    Path("w.yaml").write_text(WORKFLOW)
    cli.append("numbers", RECORDS)
    assert cli.json("run", "w.yaml", "--until-end")["dead_letters"] == 1
    return "w.yaml"


def failed(cli: Any) -> list[str]:
    return [e["execution"] for e in cli.json("executions", "list", "w.yaml", "--status", "failed")["executions"]]


def audited(cli: Any) -> None:
    assert cli.json("audit", "w.yaml")["ok"]


def test_a_retry_is_an_execution_of_its_own(cli: Any, ran: str) -> None:
    (execution,) = failed(cli)
    told = cli.json("executions", "retry", ran, execution)
    (one,) = told["retried"]
    assert one["execution"] == execution
    assert "inverses.again#" in one["as"]
    assert cli.json("run", ran, "--until-end")["dead_letters"] == 1
    assert sorted(failed(cli)) == sorted([execution, one["as"]])
    assert cli.json("executions", "show", ran, execution)["retried_as"] == [one["as"]]
    assert cli.json("executions", "show", ran, one["as"])["retry_of"] == execution
    assert f"retry of {execution}" in cli("executions", "show", ran, one["as"]).stdout
    assert cli.json("executions", "retry", ran, execution, code=1)["refused"][0]["why"].startswith("it was retried")
    Path("w.yaml").write_text(FIXED)
    told = cli.json("executions", "retry", ran, one["as"])
    cli("run", ran, "--until-end")
    assert sorted(failed(cli)) == sorted([execution, one["as"]])
    shown = cli.json("executions", "show", ran, told["retried"][0]["as"])
    assert shown["status"] == "completed"
    values = [r["value"] for r in cli.tail("inverses")]
    assert {"n": 0, "double": 0, "inverse": 0, "was": 0, "by": told["retried"][0]["as"]} in values
    assert len(values) == 3
    audited(cli)


def test_what_failed_goes_on_where_it_failed(cli: Any, ran: str) -> None:
    (execution,) = failed(cli)
    told = cli.json("executions", "resume", ran, execution)
    assert told["resumed"] == [{"execution": execution, "node": "inverse", "letter": 0}]
    cli("run", ran, "--until-end")
    assert failed(cli) == [execution], "it fails again"
    Path("w.yaml").write_text(FIXED)
    told = cli.json("executions", "resume", ran, "--all-failed")
    assert told["resumed"] == [{"execution": execution, "node": "inverse", "letter": 1}]
    cli("run", ran, "--until-end")
    assert failed(cli) == []
    assert cli.json("executions", "show", ran, execution)["status"] == "completed"
    values = [r["value"] for r in cli.tail("inverses")]
    assert {"n": 0, "double": 0, "inverse": 0, "was": 0, "by": execution} in values
    assert len(values) == 3
    told = cli.json("executions", "resume", ran, execution, code=1)
    assert not told["resumed"]
    assert "no dead letter" in told["refused"][0]["why"]
    audited(cli)


def test_an_item_is_changed_before_it_goes_on(cli: Any, ran: str) -> None:
    (execution,) = failed(cli)
    cli("executions", "resume", ran, execution, "--set", "n=4")
    cli("run", ran, "--until-end")
    assert failed(cli) == []
    values = [r["value"] for r in cli.tail("inverses")]
    assert {"n": 4, "double": 0, "inverse": 25, "was": 0, "by": execution} in values


SAGA = """workflow: steps
nodes:
  orders: {type: event, topic: orders, format: json}
  reserve: {type: set, fields: {reserved: true}, compensate: release}
  price: {type: set, fields: {price: 100 // long(qty)}}
  charge: {type: set, fields: {charged: price}, compensate: refund}
  ship: {type: set, fields: {shipped: 10 // long(reachable)}}
  shipped: {type: publish, topic: shipped, format: json}
  refund: {type: set, keep: none, fields: {order: id, undo: '"charge"', made: 1 // long(refunds)}}
  release: {type: set, keep: none, fields: {order: id, undo: '"reserve"', why: error.code}}
  undone: {type: publish, topic: undone, format: json}
connections:
  - orders -> reserve -> price -> charge -> ship -> shipped
  - "[refund, release] -> undone"
policies: {executions: all, checkpoints: {nodes: [price, shipped]}}
"""
ORDERS = [
    Record(0, 0, b"k", b'{"id": 1, "qty": 1, "reachable": 1, "refunds": 1}', []),
    Record(0, 1, b"k", b'{"id": 2, "qty": 1, "reachable": 0, "refunds": 1}', []),
    Record(0, 2, b"k", b'{"id": 3, "qty": 0, "reachable": 0, "refunds": 1}', []),
    Record(0, 3, b"k", b'{"id": 4, "qty": 1, "reachable": 0, "refunds": 0}', []),
]


@pytest.fixture
def saga(cli: Any) -> dict[int, str]:
    """Executions by the number of their order: the first is completed."""
    Path("w.yaml").write_text(SAGA)
    cli.append("orders", ORDERS)
    assert cli.json("run", "w.yaml", "--until-end")["dead_letters"] == 3
    told = cli.json("executions", "list", "w.yaml")["executions"]
    found = {int(e["execution"].rpartition(":")[2]) + 1: e["execution"] for e in told}
    assert len(found) == 4
    return found


def undone(cli: Any) -> list[tuple[int, str]]:
    return [(r["value"]["order"], r["value"]["undo"]) for r in cli.tail("undone")]


def test_what_is_completed_is_undone_once(cli: Any, saga: dict[int, str]) -> None:
    cli("executions", "compensate", "w.yaml", saga[1])
    told = cli.json("executions", "compensate", "w.yaml", saga[1], code=1)
    assert "undone before" in told["refused"][0]["why"]
    cli("run", "w.yaml", "--until-end")
    assert undone(cli) == [(1, "charge"), (1, "reserve")]
    shown = cli.json("executions", "show", "w.yaml", saga[1])
    assert (shown["status"], shown["compensated"]) == ("completed", True)
    audited(cli)


def test_a_rollback_whose_compensation_fails_does_not_go_on(cli: Any, saga: dict[int, str]) -> None:
    cli("executions", "rollback", "w.yaml", saga[2], saga[4], "--to", "price")
    cli("run", "w.yaml", "--until-end")
    assert undone(cli) == [(2, "charge")]
    nodes = {e: {n["node"]: n for n in cli.json("executions", "show", "w.yaml", saga[e])["nodes"]} for e in (2, 4)}
    assert nodes[2]["ship"]["rows_in"] == 2, "it went on, and failed again"
    assert nodes[4]["ship"]["rows_in"] == 1
    assert nodes[4]["refund"]["status"] == "failed"
    told = cli.json("executions", "resume", "w.yaml", saga[4], "--set", "refunds=1")
    assert [one["node"] for one in told["resumed"]] == ["refund"], "the compensation itself is resumed"
    cli("run", "w.yaml", "--until-end")
    assert undone(cli) == [(2, "charge"), (4, "charge")]
    audited(cli)


def test_a_rollback_is_bounded_and_where_nothing_is_to_undo_it_only_goes_on(cli: Any, saga: dict[int, str]) -> None:
    for _ in range(3):
        cli("executions", "rollback", "w.yaml", saga[3])
        cli("run", "w.yaml", "--until-end")
    told = cli.json("executions", "rollback", "w.yaml", saga[3], code=1)
    assert "rolled back to there 3 times" in told["refused"][0]["why"]
    assert undone(cli) == []
    audited(cli)


def test_one_dead_letter_goes_one_way(cli: Any, saga: dict[int, str]) -> None:
    cli("executions", "compensate", "w.yaml", saga[2])
    for command in ("resume", "rollback", "compensate"):
        told = cli.json("executions", command, "w.yaml", saga[2], code=1)
        assert "undone" in told["refused"][0]["why"], command
    cli("executions", "rollback", "w.yaml", saga[3])
    for command in ("resume", "compensate", "rollback"):
        told = cli.json("executions", command, "w.yaml", saga[3], code=1)
        assert told["refused"], command


def test_wrong_calls(cli: Any, saga: dict[int, str]) -> None:
    cli("executions", "retry", "w.yaml", code=2)
    cli("executions", "resume", "w.yaml", saga[2], "--all-failed", code=2)
    cli("executions", "resume", "w.yaml", saga[2], "--set", "qty", code=2)
    assert (
        "items are recorded before price, shipped"
        in cli("executions", "rollback", "w.yaml", saga[2], "--to", "ship", code=2).stderr
    )
    told = cli.json("executions", "retry", "w.yaml", "orders#0/0:7", "join#DE@1.0", code=1)
    assert [r["why"][:12] for r in told["refused"]] == ["topic 'order", "its id is no"]
    Path("plain.yaml").write_text(SAGA.replace(", checkpoints: {nodes: [price, shipped]}", ""))
    assert "recovery: commands" in cli("executions", "retry", "plain.yaml", saga[2], code=1).stderr


def test_a_dry_run_writes_nothing(cli: Any, saga: dict[int, str]) -> None:
    before = cli("topics", "--json").stdout
    for command in ("retry", "resume", "rollback", "compensate"):
        told = cli.json("executions", command, "w.yaml", saga[2], "--dry-run")
        assert told["written"] is False
        assert told[
            "rolled_back"
            if command == "rollback"
            else f"{command.removesuffix('y').removesuffix('e')}" + ("ied" if command == "retry" else "ed")
        ]
    assert cli("topics", "--json").stdout == before
