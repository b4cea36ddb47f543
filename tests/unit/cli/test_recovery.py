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
