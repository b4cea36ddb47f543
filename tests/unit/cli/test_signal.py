"""`streamflow signal`: what it writes, whom it refuses, and tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.operators.signing import VARIABLE

WORKFLOW = """
workflow: shop
nodes:
  orders: {type: event, topic: orders, format: json, schema: order.avsc, key: id}
  checked: {type: wait, signal: approval, key: id, timeout: 1h}
  paid: {type: wait, signal: payment, signed: true, field: payment}
  shipped: {type: publish, topic: shipped, format: json}
connections: [orders -> checked -> paid -> shipped]
"""
ORDER = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    (tmp_path / "order.avsc").write_text(ORDER)
    (tmp_path / "orders.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    monkeypatch.setenv(VARIABLE, "a key that is long enough")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*args, "--log", "log"])
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}\n{result.exception!r}"
    return result.output


def signal(*args: str, code: int = 0) -> str:
    return call("signal", "workflow.yaml", *args, code=code)


def tailed(topic: str) -> list[Any]:
    lines = call("tail", topic, "--from", "earliest", "--no-follow", "--json").splitlines()
    return [json.loads(line)["value"] for line in lines]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("aproval", "--key", "a"), 1, "Did you mean 'approval'?"),
        (("approval",), 2, "--key, --execution, or --token"),
        (("approval", "--execution", "x"), 2, "waits by key `id`"),
        (("approval", "--key", "a", "--payload", "yes"), 2, "--payload is no JSON"),
        (("approval", "--key", "a", "--id", ""), 2, "--id is empty"),
        (("approval", "--key", "a", "--node", "cheked"), 1, "Did you mean 'checked'?"),
        (("payment", "--execution", "x"), 2, "takes signed signals only"),
        (("payment", "--token", "nonsense"), 2, "is no resume token"),
        (("payment", "--key", "x", "--sign"), 2, "a token is for one execution"),
    ],
)
def test_calls_that_are_wrong(folder: Path, args: tuple[str, ...], code: int, said: str) -> None:
    assert said in signal(*args, code=code)
    assert not (folder / "log").exists()


def test_a_token_is_for_one_execution(folder: Path) -> None:
    """Method: two orders; one is paid with its token; a token of another order, or one that was changed, pays none."""
    call("send", "orders", "orders.jsonl", "--key", "id", "--partitions", "1")
    for key in "ab":
        assert "sent to all" in signal("approval", "--key", key, "--payload", f'"{key} is fine"')
    call("run", "workflow.yaml", "--until-end")
    waiting = [json.loads(line) for line in call("state", "workflow.yaml", "paid", "--json").splitlines()]
    executions = {row["values"]["id"]: row["execution"] for row in waiting}
    assert len(executions) == 2
    made = json.loads(signal("payment", "--execution", executions["a"], "--sign", "--dry-run", "--json"))
    assert made["written"] is False
    (token,) = [one["token"] for one in made["signals"]]
    assert "is for execution" in signal("payment", "--execution", executions["b"], "--token", token, code=1)
    forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    signal("payment", "--token", forged)
    signal("payment", "--token", token, "--payload", "12.5")
    call("run", "workflow.yaml", "--until-end")
    assert tailed("shipped") == [{"id": "a", "signal": "a is fine", "payment": 12.5}]
    letters = json.loads(call("dlq", "list", "workflow.yaml", "--node", "paid.check", "--json"))["dead_letters"]
    assert [(one["node"], one["code"]) for one in letters] == [("paid.check", "bad_token")]
    call("audit", "workflow.yaml")


LINKED = """
workflow: linked
nodes:
  orders: {type: event, topic: orders, format: json, SCHEMA}
  link: {type: resume-token, wait: paid, KEY field: token}
  mails: {type: publish, topic: mails, format: json}
  paid: {type: wait, signal: payment, KEY signed: true}
  shipped: {type: publish, topic: shipped, format: json}
connections: [orders -> link -> mails, link -> paid -> shipped]
"""


@pytest.mark.parametrize("key", ["", "key: id,"])
@pytest.mark.parametrize("schema", ["", "schema: order.avsc"])
def test_items_take_their_tokens_along(folder: Path, key: str, schema: str) -> None:
    """Method: what the mails say is what ends the wait of their orders, each its own, and once."""
    (folder / "workflow.yaml").write_text(
        LINKED.replace("KEY", key).replace(", SCHEMA", f", {schema}" if schema else "")
    )
    call("send", "orders", "orders.jsonl", "--key", "id", "--partitions", "1")
    call("run", "workflow.yaml", "--until-end")
    tokens = {mail["id"]: mail["token"] for mail in tailed("mails")}
    for _ in range(2):
        signal("payment", "--token", tokens["b"], "--payload", '"thanks"')
    call("run", "workflow.yaml", "--until-end")
    assert tailed("shipped") == [{"id": "b", "token": tokens["b"], "signal": "thanks"}]


def test_a_worker_needs_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert VARIABLE in call("run", "workflow.yaml", "--until-end", code=1)
