"""Signals over real HTTP, beside a real run: early ones, repeats, a server that is killed between record and answer.

Method: `serve` and `run` are processes on one embedded log. What a wait answers is compared with what was sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import orjson
import pytest

from streamflow.operators.signing import VARIABLE as SIGNING
from streamflow.operators.signing import Claim, sign
from streamflow.server.access import VARIABLE
from tests.simulation.running import send, with_log

WORKFLOW = """\
workflow: shop
nodes:
  orders: {type: event, topic: orders, format: json, schema: order.avsc, key: id}
  link: {type: resume-token, wait: paid, field: token}
  mails: {type: publish, topic: mails, format: json}
  checked: {type: wait, signal: approval, key: id}
  paid: {type: wait, signal: payment, signed: true, field: payment}
  shipped: {type: publish, topic: shipped, format: json}
connections: [orders -> link -> mails, link -> checked -> paid -> shipped]
policies: {partitions: 2}
"""
ORDER = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'
TOKEN = "a-token-that-nobody-guesses"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
STREAMFLOW = [sys.executable, "-m", "streamflow.cli.main"]


class Shop:
    """A folder with the workflow and its log."""

    def __init__(self, folder: Path, log: str = "log") -> None:
        self.folder, self.log = folder, log
        (folder / "workflow.yaml").write_text(WORKFLOW)
        (folder / "order.avsc").write_text(ORDER)
        self.environment = {**os.environ, VARIABLE: TOKEN, SIGNING: "a key that is long enough"}

    @contextmanager
    def served(self, *options: str, crash_at: str = "") -> Iterator[tuple[str, subprocess.Popen[str]]]:
        command = [*STREAMFLOW, "serve", "workflow.yaml", "--log", self.log, "--port", "0", *options]
        environment = {**self.environment, "STREAMFLOW_CRASH_AT": crash_at}
        with (self.folder / "serve.err").open("w") as err:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=err, text=True
            )
        try:
            yield self._ready(process), process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def _ready(self, process: subprocess.Popen[str]) -> str:
        lines: Queue[str] = Queue()
        assert process.stdout is not None
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]
        line = lines.get(timeout=120)
        assert line.startswith("ready http"), (self.folder / "serve.err").read_text()
        return line.split()[1]

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [*STREAMFLOW, *words, "--log", self.log], cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self) -> None:
        self.call("run", "workflow.yaml", "--until-end")

    def waiting(self, node: str) -> list[dict[str, Any]]:
        """Items that wait at a node, by id."""
        rows = [json.loads(line) for line in self.call("state", "workflow.yaml", node, "--json").splitlines()]
        return sorted((row["values"] for row in rows), key=lambda values: str(values["id"]))

    def tailed(self, topic: str) -> list[Any]:
        lines = self.call("tail", topic, "--from", "earliest", "--no-follow", "--json").splitlines()
        return [json.loads(line)["value"] for line in lines]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "orders", [{"id": one} for one in "abc"])))
    return made


def approve(base: str, order: str, by: str, id: str | None = None, *, workflow: str = "shop") -> httpx.Response:
    headers = HEADERS if id is None else {**HEADERS, "Idempotency-Key": id}
    body = {"key": order, "payload": {"by": by}}
    return httpx.post(f"{base}/signals/{workflow}/approval", json=body, headers=headers, timeout=60)


def test_signals_early_and_late_and_links(shop: Shop) -> None:
    with shop.served() as (base, process), httpx.Client(timeout=60) as client:
        assert approve(base, "a", "early").json()["topic"] == "shop.signals"
        shop.run()
        assert approve(base, "b", "late").status_code == 202
        shop.run()
        assert [one["id"] for one in shop.waiting("paid")] == ["a", "b"]
        tokens = {mail["id"]: mail["token"] for mail in shop.tailed("mails")}
        for order in "ab":
            link = f"{base}/resume/{tokens[order]}"
            for _ in range(3):  # those who look into mails
                assert client.get(link).status_code == 200
        assert client.post(f"{base}/resume/{tokens['b']}", json={"cents": 5}).status_code == 202
        assert client.post(f"{base}/resume/{tokens['b'][:-3]}AAA", json=1).status_code == 403
        shop.run()
        found = shop.tailed("shipped")
        assert [(one["id"], one["signal"], one["payment"]) for one in found] == [("b", {"by": "late"}, {"cents": 5})]
        assert client.get(f"{base}/health/ready").json() == {"status": "ready"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    shop.call("audit", "workflow.yaml")


def test_a_server_killed_between_record_and_answer(shop: Shop) -> None:
    """The client repeats with its key, at another process: two records, and one answer."""
    with shop.served(crash_at="signals-committed") as (base, process):
        with pytest.raises(httpx.TransportError):
            approve(base, "a", "ann", "k1")
        assert process.wait(timeout=60) == -signal.SIGKILL
    with shop.served() as (base, _):
        first = approve(base, "a", "ann", "k1")
        assert first.status_code == 202
        assert first.json()["repeated"] is False  # this process knows nothing of it
        again = approve(base, "a", "ann", "k1")
        assert (again.json()["repeated"], again.json()["offset"]) == (True, first.json()["offset"])
        assert first.json()["offset"] == 1
        shop.run()
        # Were the repeat a signal of its own, the next order of this key would not wait.
        asyncio.run(with_log(shop.folder / "log", lambda log: send(log, "orders", [{"id": "a"}])))
        shop.run()
    assert [one["id"] for one in shop.waiting("checked")] == ["a", "b", "c"]
    shop.call("audit", "workflow.yaml")


def test_two_servers_beside_each_other(shop: Shop) -> None:
    with shop.served() as (one, _), shop.served() as (other, _):
        for n in range(6):
            assert approve((one, other)[n % 2], "abc"[n // 2], str(n), f"k{n // 2}").status_code == 202
    shop.run()
    found = [(one["id"], orjson.loads(one["signal"])["by"]) for one in shop.waiting("paid")]
    assert found == [("a", "0"), ("b", "2"), ("c", "4")]


def test_where_it_may_listen_is_said_before_anything_is_made(shop: Shop) -> None:
    def refused(*options: str, token: str = TOKEN) -> str:
        command = [*STREAMFLOW, "serve", "workflow.yaml", "--log", "other", *options]
        environment = {**shop.environment, VARIABLE: token}
        done = subprocess.run(
            command, cwd=shop.folder, env=environment, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert not (shop.folder / "other").exists()
        return done.stderr

    assert "TLS (--tls-cert, --tls-key) is missing" in refused("--host", "0.0.0.0")
    assert "go together" in refused("--tls-cert", "x")
    assert "it is 16 to" in refused(token="short")


PAGE = Path(__file__).parents[2] / "docs" / "operations" / "serve.md"


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="no curl here")
def test_the_lines_of_the_page(tmp_path: Path) -> None:
    """Method: the commands of docs/operations/serve.md, as they stand there, against a server of two workflows."""
    shop = Shop(tmp_path)
    example = Path(__file__).parents[2] / "topologies" / "wait-signal"
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    token = sign(Claim("shop", "paid", "e", "e"), shop.environment[SIGNING].encode())
    with shop.served(str(example / "workflow.yaml")) as (base, _):
        environment = {**shop.environment, "BASE": base, "TOKEN": token}
        said = [
            subprocess.run(
                ["bash", "-ec", block], env=environment, capture_output=True, text=True, check=True, timeout=100
            ).stdout
            for block in blocks
            if not block.startswith("# server")
        ]
    told = json.loads(said[0])
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    assert told == shown | {"partition": told["partition"]}
    assert '<form method="post">' in said[1]
    assert json.loads(said[1].rpartition("</html>")[2])["node"] == "paid"
