"""`streamflow executions`: how executions stand, and what each of them did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.records import Record

WORKFLOW = """workflow: inverses
nodes:
  numbers: {type: event, topic: numbers, format: json}
  odd: {type: if, when: long(n) % 2 == 1}
  inverse: {type: set, fields: {inverse: 100 // long(n)}}
  keyed: {type: repartition, key: string(n), partition_count: 2}
  out: {type: publish, topic: inverses, format: json}
  rest: {type: publish, topic: odd, format: json}
connections:
  - numbers -> odd
  - odd.true -> rest
  - odd.false -> inverse -> keyed -> out
policies: {executions: all}
"""
RECORDS = [Record(0, 1_000 * n, b"k", value, []) for n, value in enumerate((b'{"n": 0}', b'{"n": 5}', b'{"n": 10}'))]


@pytest.fixture
def ran(cli: Any) -> str:
    """Three executions: one failed, one took each branch."""
    Path("w.yaml").write_text(WORKFLOW)
    cli.append("numbers", RECORDS)
    assert cli.json("run", "w.yaml", "--until-end")["dead_letters"] == 1
    return "w.yaml"


def by_offset(cli: Any, file: str, *options: str) -> dict[int, dict[str, Any]]:
    told = cli.json("executions", "list", file, *options)
    return {int(one["execution"].rpartition(":")[2]): one for one in told["executions"]}


def test_list(cli: Any, ran: str) -> None:
    told = cli.json("executions", "list", ran)
    assert told["totals"] == {"completed": 2, "failed": 1}
    found = by_offset(cli, ran)
    assert {offset: one["status"] for offset, one in found.items()} == {0: "failed", 1: "completed", 2: "completed"}
    assert found[0]["error"]["code"] == "division_by_zero"
    assert found[2]["steps_told"] == 2, "it passed two stages"
    lines = cli("executions", "list", ran).stdout.splitlines()
    assert lines[0].split() == ["execution", "status", "began", "lasted", "error"]
    assert lines[-1] == "(3 executions: 2 completed, 1 failed)"


def test_list_of_some(cli: Any, ran: str) -> None:
    assert set(by_offset(cli, ran, "--status", "failed")) == {0}
    assert len(by_offset(cli, ran, "--max", "1")) == 1
    assert by_offset(cli, ran, "--since", "2999-01-01") == {}
    assert len(by_offset(cli, ran, "--since", "2000-01-01T00:00:00Z")) == 3
    assert "2 completed" in cli("executions", "list", ran, "--max", "1").stdout
    assert cli("executions", "list", ran, "--status", "waiting").stdout == "no executions that are waiting\n"


def test_show_prints_a_tree(cli: Any, ran: str) -> None:
    found = by_offset(cli, ran)
    lines = cli("executions", "show", ran, found[0]["execution"]).stdout.splitlines()
    assert lines[0] == f"{found[0]['execution']}  failed"
    assert lines[2].startswith("error in inverse: division_by_zero: ")
    assert lines[4:] == [
        "numbers                completed  1 in, 1 out",
        "└─ odd                 completed  1 in, 1 out",
        "   ├─ inverse [false]  failed     1 in, 1 dead-lettered",
        "   │  └─ keyed         skipped",
        "   │     └─ out        skipped",
        "   └─ rest [true]      skipped",
    ]


def test_show_as_json(cli: Any, ran: str) -> None:
    one = cli.json("executions", "show", ran, by_offset(cli, ran)[2]["execution"])
    assert {n["node"]: n["status"] for n in one["nodes"]} == {
        "numbers": "completed",
        "odd": "completed",
        "rest": "skipped",
        "inverse": "completed",
        "keyed": "completed",
        "out": "completed",
    }
    assert [(step["stage"], step["status"]) for step in one["steps"]] == [
        ("numbers", "running"),
        ("keyed", "completed"),
    ]
    assert [edge for step in one["steps"] for edge in step["edges"]] == [
        {"topic": "inverses.keyed.repartition", "received": 0, "sent": 1},
        {"topic": "inverses.keyed.repartition", "received": 1, "sent": 0},
    ]


def test_an_item_that_no_task_has_read_is_pending(cli: Any, ran: str) -> None:
    cli.append("numbers", RECORDS)
    source = by_offset(cli, ran)[0]["execution"].rpartition(":")[0]
    assert cli.json("executions", "show", ran, f"{source}:3")["status"] == "pending"
    assert "pending" in cli("executions", "show", ran, f"{source}:5").stdout
    for nowhere in (f"{source}:6", "numbers#gone/0:1", "nothing"):
        told = cli("executions", "show", ran, nowhere, code=1)
        assert f"there is no execution '{nowhere}'" in told.stderr


def test_what_is_asked_wrongly(cli: Any, ran: str) -> None:
    assert "Did you mean 'failed'?" in cli("executions", "list", ran, "--status", "faild", code=2).stderr
    assert "--since is an ISO time" in cli("executions", "list", ran, "--since", "yesterday", code=2).stderr
    Path("none.yaml").write_text(WORKFLOW.replace("policies: {executions: all}", ""))
    told = cli("executions", "list", "none.yaml", code=1)
    assert "executions of 'inverses' leave no records" in told.stderr


def test_errors_only(cli: Any) -> None:
    Path("e.yaml").write_text(WORKFLOW.replace("executions: all", "executions: errors"))
    cli.append("numbers", RECORDS)
    cli.json("run", "e.yaml", "--until-end")
    found = by_offset(cli, "e.yaml")
    assert set(found) == {0}
    shown = cli("executions", "show", "e.yaml", found[0]["execution"]).stdout
    assert "steps in which nothing failed left no record" in shown
    assert "out " not in shown.split("\n\n", 1)[1], "of the second stage nothing is known"
