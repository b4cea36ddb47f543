"""`streamflow executions cancel`: which executions it takes, what it writes, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.records import Record
from streamflow.sdk.log import Log

WORKFLOW = """workflow: waits
nodes:
  orders: {type: event, topic: orders, format: json}
  large: {type: if, when: long(n) > 10}
  pause: {type: wait, for: 1h}
  out: {type: publish, topic: out, format: json}
connections: [orders -> large, large.true -> pause -> out, large.false -> out]
policies: {executions: all}
"""


def record(n: int) -> Record:
    return Record(0, 1_000 * n, b"k", f'{{"n": {n}}}'.encode(), [])


@pytest.fixture
def ran(cli: Any) -> dict[int, str]:
    """Four executions: 1 is through, 20 and 30 wait, 40 is pending. Their ids by number."""
    Path("w.yaml").write_text(WORKFLOW)
    cli.append("orders", [record(n) for n in (1, 20, 30)])
    cli.json("run", "w.yaml", "--until-end")
    cli.append("orders", [record(40)])
    (one, *_) = cli.json("executions", "list", "w.yaml")["executions"]
    source = one["execution"].rpartition(":")[0]
    return {n: f"{source}:{offset}" for offset, n in enumerate((1, 20, 30, 40))}


def status(cli: Any, execution: str) -> str:
    return str(cli.json("executions", "show", "w.yaml", execution)["status"])


def test_waiting_and_pending_ones(cli: Any, ran: dict[int, str]) -> None:
    said = cli("executions", "cancel", "w.yaml", ran[20], ran[40], "--reason", "sold out", "--by", "kim").stdout
    assert said.splitlines() == [
        f"{ran[20]}  waiting: to be cancelled",
        f"{ran[40]}  pending: to be cancelled",
    ]
    cli.json("run", "w.yaml", "--until-end")
    assert [status(cli, ran[n]) for n in (1, 20, 30, 40)] == ["completed", "cancelled", "waiting", "cancelled"]
    lines = cli("executions", "show", "w.yaml", ran[20]).stdout.splitlines()
    assert lines[0] == f"{ran[20]}  cancelled"
    assert "ended in pause: cancelled by kim: sold out" in lines
    (node,) = [line for line in lines if "pause" in line and "└─" in line]
    assert "cancelled  1 in, 1 into state, 1 cancelled" in node
    assert cli.json("audit", "w.yaml")["ok"]
    assert cli.json("executions", "list", "w.yaml")["totals"] == {"cancelled": 2, "completed": 1, "waiting": 1}


def test_one_that_is_through(cli: Any, ran: dict[int, str]) -> None:
    told = cli.json("executions", "cancel", "w.yaml", ran[1], ran[30], "orders#none/0:1", code=1)
    assert [(one["cancelled"], one["why"]) for one in told["executions"]] == [
        (False, "it is completed already"),
        (True, None),
        (False, "there is no such execution"),
    ]
    cli.json("run", "w.yaml", "--until-end")
    assert status(cli, ran[30]) == "cancelled"
    told = cli.json("executions", "cancel", "w.yaml", ran[30], code=1)
    assert told["written"] is False
    assert told["executions"][0]["why"] == "it is cancelled already"


def test_those_that_stand_so(cli: Any, ran: dict[int, str]) -> None:
    dry = cli.json("executions", "cancel", "w.yaml", "--status", "waiting", "--dry-run")
    assert {one["execution"] for one in dry["executions"]} == {ran[20], ran[30]}
    assert dry["written"] is False
    old = cli.json("executions", "cancel", "w.yaml", "--older-than", "1h")
    assert old["executions"] == []
    assert "(0 executions to be cancelled)" in cli("executions", "cancel", "w.yaml", "--older-than", "1h").stdout
    cli.json("executions", "cancel", "w.yaml", "--status", "waiting")
    cli.json("run", "w.yaml", "--until-end")
    assert cli.json("executions", "list", "w.yaml")["totals"] == {"cancelled": 2, "completed": 1, "waiting": 1}


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("orders#x/0:1", "--status", "waiting"),
        ("--status", "completed"),
        ("--older-than", "long"),
        ("orders#x/0:1", "--at", "pauze"),
    ],
)
def test_wrong_calls(cli: Any, ran: dict[int, str], options: tuple[str, ...]) -> None:
    cli("executions", "cancel", "w.yaml", *options, code=2)


def test_at_a_node(cli: Any, ran: dict[int, str]) -> None:
    """What is ordered for one node leaves rows elsewhere alone."""
    cli.json("executions", "cancel", "w.yaml", ran[20], "--at", "out")
    cli.json("executions", "cancel", "w.yaml", ran[30], "--at", "pause")
    cli.json("run", "w.yaml", "--until-end")
    assert [status(cli, ran[n]) for n in (20, 30)] == ["waiting", "cancelled"]


def test_without_history(cli: Any) -> None:
    Path("w.yaml").write_text(WORKFLOW.replace("executions: all", "executions: none"))
    cli.append("orders", [record(1)])
    assert "leave no records" in cli("executions", "cancel", "w.yaml", "orders#x/0:0", code=1).stderr


async def incarnation(log: Log) -> str:
    return (await log.topics())["orders"].incarnation


def test_where_only_failures_are_told(cli: Any) -> None:
    """How others stand is not known: what is a trigger item is cancelled."""
    Path("w.yaml").write_text(WORKFLOW.replace("executions: all", "executions: errors"))
    cli.append("orders", [record(20)])
    cli.json("run", "w.yaml", "--until-end")
    cli("executions", "cancel", "w.yaml", "--status", "waiting", code=1)
    one = f"orders#{cli.on_log(incarnation)}/0:0"
    assert cli.json("executions", "cancel", "w.yaml", one)["executions"][0]["status"] == "unknown"
    cli.json("run", "w.yaml", "--until-end")
    assert status(cli, one) == "cancelled"
