"""What failed is resumed exactly once under SIGKILL of the commands and of the runs, and a replay repeats it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.recovery.by_policy import ByPolicy
from streamflow.recovery.recover import Recover
from streamflow.recovery.resuming import resumptions
from streamflow.recovery.retrying import retries
from streamflow.replay.follow import follow
from streamflow.runtime.again_log import given_again
from tests.golden.test_topologies import call
from tests.simulation.running import compiled, contents, run, send, values, with_log

ITEMS = 900
WORKFLOW = """\
workflow: thirds
nodes:
  numbers: {type: event, topic: in, format: json}
  before: {type: publish, topic: out.before, format: json}
  third: {type: set, fields: {third: long(n) // (long(n) % 3)}}
  keyed: {type: repartition, key: string(n), partition_count: 2}
  told: {type: set, fields: {by: meta.execution}}
  after: {type: publish, topic: out.after, format: json}
connections:
  - numbers -> third -> keyed -> told -> after
  - numbers -> before
policies: {executions: all, recovery: commands, commit_interval: 1ms, step_bytes_max: 2000}
"""
MENDED = WORKFLOW.replace("long(n) // (long(n) % 3)", "long(n) // 3")
# Where commands and runs are killed, in turn: by name and how often it is passed before.
KILLS = (
    ("resume", "torn-frame:1"), ("run", "after-frame:2"), ("resume", "after-frame:1"), ("run", "after-outputs:3"),
    ("resume", "torn-frame:2"), ("run", "before-store:2"), ("resume", "before-frame:2"), ("run", "torn-frame:4"),
    ("resume", "after-frame:9"), ("run", "after-store:1"),
)  # fmt: skip
COMMANDS = {
    "resume": ("executions", "resume", "workflow.yaml", "--all-failed"),
    "run": ("run", "workflow.yaml", "--until-end"),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_is_resumed_once_under_kills(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    items = [{"n": n} for n in range(ITEMS)]
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "in", items, partitions=2, batch=20)))
    at = (tmp_path / "workflow.yaml", "--log", tmp_path / "log", "--json")
    call("run", tmp_path / "workflow.yaml", "--until-end", "--log", tmp_path / "log")
    assert json.loads(call("dlq", "list", *at))["total"] == ITEMS // 3
    (tmp_path / "workflow.yaml").write_text(MENDED)
    killed = [_killed(tmp_path, *kill) for kill in KILLS]
    assert sum(killed) >= 6, "too few of the kills met work"
    for command in ("resume", "run"):
        assert not _killed(tmp_path, command, "")

    told = asyncio.run(with_log(tmp_path / "log", lambda log: given_again(log, compiled(MENDED))))
    assert Counter(record.letter for _, record in told) == dict.fromkeys(range(ITEMS // 3), 1)
    for topic, count in (("out.before", ITEMS), ("out.after", ITEMS)):
        found = asyncio.run(with_log(tmp_path / "log", partial(values, topic=topic)))
        assert sorted(item["n"] for item in found) == list(range(count)), topic
    listed = json.loads(call("executions", "list", *at, "--max", 10_000))
    assert listed["totals"] == {"completed": ITEMS}
    assert json.loads(call("audit", *at))["ok"]


def _killed(folder: Path, command: str, point: str) -> bool:
    """Whether a command died where it was to; it may find nothing left to do before."""
    environment = {**os.environ, "STREAMFLOW_CRASH_AT": point}
    words = [sys.executable, "-m", "streamflow.cli.main", *COMMANDS[command], "--log", "log"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode in ((0, -9) if point else (0,)), done.stderr.decode()
    return done.returncode == -9


def test_a_replay_repeats_what_was_given_again(tmp_path: Path) -> None:
    """Method: some fail, some of those are retried and resumed while others come in; replay from the journal."""
    broken = compiled(WORKFLOW)

    async def first(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(200)], partitions=2, batch=20)
        await run(broken, log)
        async with Recover(log, broken, dry_run=False) as work:
            some = [letter.execution or "" async for letter in work.letters() if letter.position % 2]
            await work.write(await resumptions(work, some, registry(), fields={"n": "4"}))
            await work.write(await retries(work, some[:5]))
        await run(broken, log)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        await follow(broken, log, again, nodes=registry())
        for name in ("out.before", "out.after", "thirds.dead-letter", "thirds.executions", "thirds.keyed.repartition"):
            both = [await contents(each, name) for each in (again, log)]
            got, wanted = ({p: sorted(map(repr, found)) for p, found in one.items()} for one in both)  # by many tasks
            assert got == wanted, name
        assert len(await values(log, "out.after")) == 200 - 67 + 33
        await again.close()

    asyncio.run(with_log(tmp_path / "log", first))


def test_what_was_redriven_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other way round: one dead letter goes one way."""
    monkeypatch.chdir(tmp_path)
    Path("workflow.yaml").write_text(WORKFLOW)
    items = [{"n": n} for n in (0, 3)]
    asyncio.run(with_log(Path("log"), lambda log: send(log, "in", items, batch=20)))
    at: tuple[Any, ...] = ("workflow.yaml", "--log", "log", "--json")
    call("run", "workflow.yaml", "--until-end", "--log", "log")
    first = json.loads(call("dlq", "show", "workflow.yaml", "0", "--log", "log", "--json"))["execution"]
    call("executions", "resume", "workflow.yaml", first, "--log", "log")
    assert json.loads(call("dlq", "redrive", *at))["sent"] == 1
    assert json.loads(call("executions", "resume", "workflow.yaml", "--all-failed", *at[1:]))["resumed"] == []


@pytest.mark.parametrize("action", ["resume", "retry"])
def test_a_policy_recovers_so_often_and_no_more(action: str, tmp_path: Path) -> None:
    """Method: what fails always is given again by a run itself, as often as the policy says; two at once do it once."""
    waits = f"recover: {{action: {action}, after: 1h, attempts: 2}}"
    waiting = compiled(WORKFLOW.replace("recovery: commands", waits))
    at_once = compiled(WORKFLOW.replace("recovery: commands", waits.replace("1h", "0s")))

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(9)], partitions=2, batch=20)
        await run(waiting, log)
        assert await given_again(log, waiting) == []
        assert at_once.recover is not None
        both = [ByPolicy(at_once, at_once.recover, log, registry(), clock_ms=lambda: 0) for _ in range(2)]
        counts = await asyncio.gather(*(one.round() for one in both))
        assert sum(counts) == 3, "of two at once, the later takes over"
        await run(at_once, log)
        given = [record for _, record in await given_again(log, at_once)]
        assert len(given) == 2 * 3
        if action == "resume":
            assert Counter(r.execution for r in given) == dict.fromkeys({r.execution for r in given}, 2)
            assert len({r.execution for r in given}) == 3
        letters = await contents(log, "thirds.dead-letter")
        assert len(letters[0]) == 3 * 3
        await run(at_once, log)
        assert len(await given_again(log, at_once)) == 2 * 3, "a new run does not begin to count anew"

    asyncio.run(with_log(tmp_path / "log", work))
