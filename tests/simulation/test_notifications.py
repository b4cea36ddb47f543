"""Notifications against a real HTTP server, by Apprise: retries, rates, kills, and that secrets stay secret."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.connectors.notify import sending
from streamflow.logs.embedded import EmbeddedLog
from tests.simulation.auditing import audited
from tests.simulation.inbox import Inbox, inbox
from tests.simulation.running import compiled, contents, send, values, with_log
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

WORKFLOW = """\
workflow: telling
nodes:
  start: {{type: event, topic: in, format: json}}
  tell:
    type: notification
    url_env: INBOX_URLS
    title: "Order {{{{ id }}}}"
    body: "of {{{{ id }}}}"
    {more}
  out: {{type: publish, topic: out, format: json}}
connections: [start -> tell -> out]
policies: {{commit_interval: 5ms, step_bytes_max: 300}}
"""


def run(folder: Path, *options: str, to: Inbox | None, crash_at: str = "") -> subprocess.CompletedProcess[bytes]:
    """A run in a process of its own, as users have it."""
    environment = {**os.environ, "STREAMFLOW_CRASH_AT": crash_at, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {} if to is None else {"INBOX_URLS": to.url}
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--log", "log", "--until-end"]
    return subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, timeout=240, check=False
    )


def filled(folder: Path, count: int, **node: str) -> None:
    more = "\n    ".join(f"{key}: {value}" for key, value in node.items())
    (folder / "workflow.yaml").write_text(WORKFLOW.format(more=more))
    items = [{"id": n} for n in range(count)]
    asyncio.run(with_log(folder / "log", lambda log: send(log, "in", items, batch=5)))


def out_of(folder: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """(ids that went on, dead letters), and the books balance."""

    async def read(log: EmbeddedLog) -> tuple[list[int], list[dict[str, Any]]]:
        report = await audited(log, compiled((folder / "workflow.yaml").read_text(), folder))
        assert report.ok, report.text()
        return [item["id"] for item in await values(log, "out")], []

    found, _ = asyncio.run(with_log(folder / "log", read))
    listed = CliRunner().invoke(
        app, ["dlq", "list", str(folder / "workflow.yaml"), "--log", str(folder / "log"), "--json"]
    )
    return found, json.loads(listed.stdout)["dead_letters"]


def test_each_item_is_told_and_goes_on(tmp_path: Path) -> None:
    filled(tmp_path, 12)
    with inbox() as box:
        done = run(tmp_path, to=box)
        assert done.returncode == 0, done.stderr.decode()
    assert sorted(box.titles) == sorted(f"Order {n}" for n in range(12))
    assert box.taken[0]["message"] == "of 0"
    assert out_of(tmp_path) == (list(range(12)), [])


def test_what_no_service_takes_is_tried_again_and_then_a_dead_letter_without_secrets(tmp_path: Path) -> None:
    filled(tmp_path, 6, retry="{attempts: 3, delay: 1ms, codes: [notification_failed]}")
    with inbox() as box:
        box.refuses = {"Order 2": 2, "Order 4": 100}
        done = run(tmp_path, to=box)
        assert done.returncode == 0, done.stderr.decode()
    assert sorted(box.titles) == sorted(f"Order {n}" for n in range(6) if n != 4)
    assert [box.asked.count(f"Order {n}") for n in range(6)] == [1, 1, 3, 1, 3, 1]
    ids, dead = out_of(tmp_path)
    assert sorted(ids) == [0, 1, 2, 3, 5]
    assert [(d["code"], d["attempt"]) for d in dead] == [("notification_failed", 3)]
    assert "JSON" in dead[0]["message"]
    said = json.dumps(dead) + done.stdout.decode() + done.stderr.decode()
    assert "secret-path" not in said
    assert str(box.port) not in said


def test_what_is_above_the_rate_is_counted_and_told_in_the_next(tmp_path: Path) -> None:
    filled(tmp_path, 9, at_most="3/2s", retry="{attempts: 2}")
    with inbox() as box:
        box.refuses = {"Order 1": 1}
        assert run(tmp_path, to=box).returncode == 0
        assert len(box.taken) == 3, "what failed took no room until it was sent"
        assert out_of(tmp_path) == (list(range(9)), [])
        asyncio.run(asyncio.sleep(2.1))
        asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "in", [{"id": 9}, {"id": 10}])))
        assert run(tmp_path, to=box).returncode == 0
    assert box.titles[3:] == ["Order 9", "Order 10"]
    assert box.taken[3]["message"] == "of 9\n\n(6 more since the last were not sent.)"
    assert box.taken[4]["message"] == "of 10"


def test_a_kill_repeats_notifications_and_loses_none(tmp_path: Path) -> None:
    filled(tmp_path, 40)
    with inbox() as box:
        assert run(tmp_path, to=box, crash_at="after-outputs:2").returncode == -signal.SIGKILL
        assert run(tmp_path, to=box).returncode == 0
    assert set(box.titles) == {f"Order {n}" for n in range(40)}
    assert len(box.titles) >= 40
    assert out_of(tmp_path) == (list(range(40)), [])


def test_a_replay_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INBOX_URLS", raising=False)
    topology = compiled(WORKFLOW.format(more="at_most: 2/1m"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, "in", [{"id": n} for n in range(9)])
        await bench.start("start", 0)
        await bench.work("start", 0)
        assert len((await contents(bench.log, "out"))[0]) == 9
        await replays(topology, bench.log, tmp_path)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize(
    ("urls", "said"),
    [(None, "environment variable INBOX_URLS is not set"), ("nonsense://secret-path", "is none that Apprise knows")],
)
def test_a_run_without_addresses_says_so_at_its_start(urls: str | None, said: str, tmp_path: Path) -> None:
    filled(tmp_path, 1)

    class Given(Inbox):
        url = urls or ""

    done = run(tmp_path, to=Given() if urls else None)
    text = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 1, text
    assert said in text
    assert "secret-path" not in text


def test_where_apprise_is_missing_check_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "installed", lambda: False)
    (tmp_path / "workflow.yaml").write_text(WORKFLOW.format(more="at_most: 2/1m"))
    told = CliRunner().invoke(app, ["check", str(tmp_path / "workflow.yaml")])
    assert told.exit_code == 1
    assert "SF220" in told.output
    assert "streamflow[notify]" in told.output


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{type: notification, title: x}", "give `url_env`"),
        ("{type: notification, title: x, url_env: 'json://user:pass@host'}", "no name of an environment variable"),
        ("{type: notification, title: x, url_file: 'json://user:pass@host'}", "no name of a file"),
        ("{type: notification, title: x, url_env: A, at_most: often}", "no rate"),
        ("{type: notification, title: '{{ nope( }}', url_env: A}", "SF21"),
    ],
)
def test_what_is_written_wrongly_is_refused(params: str, said: str, tmp_path: Path) -> None:
    text = (
        "workflow: w\nnodes:\n  start: {type: event, topic: in, format: json}\n"
        f"  tell: {params}\nconnections: [start -> tell]\n"
    )
    (tmp_path / "workflow.yaml").write_text(text)
    told = CliRunner().invoke(app, ["check", str(tmp_path / "workflow.yaml")])
    assert told.exit_code == 1
    assert said in told.output.replace("\n", " ")


POLICY = """\
workflow: orders
nodes:
  start: {type: event, topic: in, format: json}
  each: {type: set, fields: {each: 12 // long(id)}}
  out: {type: publish, topic: out, format: json}
connections: [start -> each -> out]
policies: {executions: all, commit_interval: 5ms, notify: {url_env: INBOX_URLS, at_most: 2/1h}}
"""


def test_a_policy_tells_of_dead_letters(tmp_path: Path) -> None:
    """Method: four items fail; two are told at once, the others only counted; a kill and a second run add none."""
    (tmp_path / "workflow.yaml").write_text(POLICY)
    items = [{"id": n % 3} for n in range(12)]
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "in", items, batch=5)))
    with inbox() as box:
        done = run(tmp_path, to=box)
        assert done.returncode == 0, done.stderr.decode()
        assert run(tmp_path, to=box).returncode == 0
    assert box.titles == ["orders: an item failed in each (division_by_zero)"] * 2
    assert "division by zero" in box.taken[0]["message"]
    assert "in/0 offset 0, execution in#" in box.taken[0]["message"]
    ids, dead = out_of(tmp_path)
    assert ids == [n % 3 for n in range(12) if n % 3]
    assert len(dead) == 4
    listed = CliRunner().invoke(
        app, ["executions", "list", str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log"), "--json"]
    )
    assert len(json.loads(listed.stdout)["executions"]) == 12, "to tell of a dead letter is no execution"


def test_what_cannot_be_told_is_no_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(POLICY)
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "in", [{"id": 0}])))
    with inbox() as box:
        box.refuses = {"orders: an item failed in each (division_by_zero)": 100}
        done = run(tmp_path, to=box)
        assert done.returncode == 0, done.stderr.decode()
        assert len(box.asked) == 3
    assert len(out_of(tmp_path)[1]) == 1
