"""Items that are delayed: through commits, restarts, faults, SIGKILL at each step of a commit, and replays."""

from __future__ import annotations

import asyncio
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.logs.embedded import EmbeddedLog
from streamflow.sdk.crash import POINTS
from streamflow.sdk.log import Log
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_parked import PLAIN, WORKFLOW, run, send
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

DELAY = WORKFLOW.replace("mode: park", "mode: delay")


async def numbers(log: Log, topic: str = "out") -> list[int]:
    return [item["n"] for item in await values(log, topic)]


def test_a_task_wakes_restarts_and_is_replayed(tmp_path: Path) -> None:
    """Method: a task on a clock that the test moves; a new task takes over while items wait; then a replay."""
    text = DELAY.format(function="thirds", attempts=3, delay="1s", delay_max="30s", more=PLAIN)
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in range(1, 40)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        well = [n for n in range(1, 40) if n % 3]
        assert await numbers(log) == well, "nothing waits for what is delayed"
        bench.now_ms += 500
        await bench.start("numbers", 0)
        await send(log, [(n % 4, n) for n in range(40, 60)])
        for _ in range(20):
            bench.now_ms += 700
            await bench.work("numbers", 0)
        assert await numbers(log) == [n for n in range(1, 60) if n % 3]
        letters = await contents(log, "parked.dead-letter")
        assert len(letters[0]) == len([n for n in range(1, 60) if n % 3 == 0])
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_what_is_given_up_stops_the_workflow_where_that_is_the_policy(tmp_path: Path) -> None:
    """Method: two tries, then the clock goes on; a new task stops at the same item."""
    text = DELAY.format(function="thirds", attempts=2, delay="1s", delay_max="30s", more=PLAIN)
    topology = compiled(text.replace("    retry:", "    on_error: stop\n    retry:"), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, [(n % 4, n) for n in range(1, 20)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        before = await numbers(log)
        for _ in range(2):
            bench.now_ms += 5_000
            for _ in range(5):
                await bench.work("numbers", 0)
            halted = bench.tasks["numbers", 0].halted
            assert halted is not None
            assert "is a third" in halted.message
            assert await numbers(log) == before
            await bench.start("numbers", 0)

    benched(tmp_path, topology, work)


@pytest.mark.parametrize("seed", range(3))
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs; then a task without faults until nothing waits any more."""
    text = DELAY.format(function="thirds", attempts=2, delay="5ms", delay_max="30s", more=PLAIN)
    topology = compiled(text, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await send(log, [(n % 4, n) for n in range(1, 120)])
        await persist(topology, FaultyLog(log, seeded_faults(seed, count=2 + seed, nth_max=60)), may_stop=True)
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(topology, log, executor)
            bench.now_ms = 2**42  # behind every wait
            await bench.start("numbers", 0)
            for _ in range(20):
                bench.now_ms += 60_000
                await bench.work("numbers", 0)
            await bench.close()
        assert sorted(await numbers(log)) == [n for n in range(1, 120) if n % 3]
        assert len((await contents(log, "parked.dead-letter"))[0]) == len(range(3, 120, 3))
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", work))


def test_what_waits_can_be_seen_and_its_execution_waits(tmp_path: Path) -> None:
    text = DELAY.format(function="thirds", attempts=3, delay="1h", delay_max="2h", more=PLAIN)
    text = text.replace("commit_interval: 1ms", "commit_interval: 1ms, executions: all")
    (tmp_path / "workflow.yaml").write_text(text)

    async def fill(log: EmbeddedLog) -> None:
        await send(log, [(n % 4, n) for n in range(1, 8)])

    asyncio.run(with_log(tmp_path / "log", fill))
    workflow, log = str(tmp_path / "workflow.yaml"), str(tmp_path / "log")
    assert CliRunner().invoke(app, ["run", workflow, "--until-end", "--log", log]).exit_code == 0
    told = CliRunner().invoke(app, ["state", workflow, "shaky", "--log", log, "--json"])
    assert told.exit_code == 0, told.output
    waiting = [json.loads(line) for line in told.stdout.splitlines()]
    shown = sorted((w["values"]["@item"]["n"], w["key"], w["values"]["tries"]) for w in waiting)
    assert shown == [(3, "3", 1), (6, "2", 1)]
    assert all(w["values"]["@due"] for w in waiting)
    listed = CliRunner().invoke(app, ["executions", "list", workflow, "--log", log, "--json"])
    assert listed.exit_code == 0, listed.output
    found = [e["status"] for e in json.loads(listed.stdout)["executions"]]
    assert sorted(found) == ["completed"] * 5 + ["waiting"] * 2


def test_what_was_given_up_can_be_redriven(tmp_path: Path) -> None:
    """Method: two tries, then redrive: the records of what was given up come once more, byte for byte."""
    text = DELAY.format(function="thirds", attempts=2, delay="1s", delay_max="30s", more=PLAIN)
    (tmp_path / "workflow.yaml").write_text(text)
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(n % 4, n) for n in range(1, 10)])
        await bench.start("numbers", 0)
        for _ in range(5):
            await bench.work("numbers", 0)
            bench.now_ms += 2_000

    benched(tmp_path, topology, work)
    told = CliRunner().invoke(app, ["dlq", "redrive", str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log")])
    assert told.exit_code == 0, told.output
    found = asyncio.run(with_log(tmp_path / "log", lambda log: contents(log, "in")))[0]
    assert sorted(found[:9][n - 1][1:3] for n in (3, 6, 9)) == sorted(row[1:3] for row in found[9:])


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_commit_step_loses_and_doubles_nothing_that_waits(point: str, tmp_path: Path) -> None:
    """Method: key 3 fails until a file is there. Killed while items are delayed, then while they come out again."""
    text = DELAY.format(function="until_well", attempts=100, delay="50ms", delay_max="400ms", more=PLAIN)
    (tmp_path / "workflow.yaml").write_text(text)
    count = 800

    async def fill(log: EmbeddedLog) -> None:
        await send(log, [(n % 5, n) for n in range(count)])

    asyncio.run(with_log(tmp_path / "log", fill))
    assert run(tmp_path, "--until-end", crash_at=f"{point}:4") == -signal.SIGKILL
    assert run(tmp_path, "--until-end") == 0
    found = asyncio.run(with_log(tmp_path / "log", numbers))
    assert found == [n for n in range(count) if n % 5 != 3]
    (tmp_path / "well").touch()
    assert run(tmp_path, "--duration", "20", crash_at=f"{point}:1") == -signal.SIGKILL
    run(tmp_path, "--duration", "3")
    assert sorted(asyncio.run(with_log(tmp_path / "log", numbers))) == list(range(count))


@pytest.mark.parametrize("mode", ["park", "delay"])
def test_an_item_that_becomes_several_or_none_waits_no_longer(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: every third item waits; when all is well some become two items and some none: each execution is over."""
    monkeypatch.chdir(tmp_path)
    text = WORKFLOW.replace("mode: park", f"mode: {mode}").replace(
        "commit_interval", "executions: all, commit_interval"
    )
    text = text.format(function="several_when_well", attempts=3, delay="1s", delay_max="30s", more=PLAIN)
    (tmp_path / "workflow.yaml").write_text(text)
    topology = compiled(text, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(n, n) for n in range(1, 13)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        (tmp_path / "well").touch()
        bench.now_ms += 1_500
        for _ in range(3):
            await bench.work("numbers", 0)
        assert sorted(await numbers(bench.log)) == sorted([*range(2, 13, 2)] * 2)

    benched(tmp_path, topology, work)
    found = CliRunner().invoke(
        app, ["executions", "list", str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log"), "--json"]
    )
    assert {e["status"] for e in json.loads(found.stdout)["executions"]} == {"completed"}, found.stdout
