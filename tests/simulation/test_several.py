"""Several workflows of one embedded log in one process; and a process that may hold next to nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics
from streamflow.sdk.errors import LogBusy
from streamflow.workers.budget import SharedBudget
from streamflow.workers.embedded import EmbeddedWorker
from streamflow.workers.scheduler import Limits, Scheduler
from streamflow.workers.together import Standing, Together
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_joins import KINDS, WORKFLOW, streams

FLOW = """
workflow: {name}
nodes:
  numbers: {{type: event, topic: {source}, format: json}}
  more: {{type: set, fields: {{n: 'long(n) + 1'}}}}
  out: {{type: publish, topic: {target}, format: json}}
connections: [numbers -> more -> out]
policies: {{on_error: stop, commit_interval: 1ms, step_bytes_max: 500, partitions: 2, weight: {weight}}}
"""


def flow(name: str, source: str, target: str, weight: int = 1) -> str:
    return FLOW.format(name=name, source=source, target=target, weight=weight)


async def together(log: EmbeddedLog, *texts: str, **limits: Any) -> Standing:
    """Run workflows to the end of their inputs."""
    with Scheduler(Limits(threads=2, **limits)) as scheduler:
        workers = {
            (topology := compiled(text)).workflow: EmbeddedWorker(
                topology, log, nodes=registry(), scheduler=scheduler, until_end=True, ends_itself=False
            )
            for text in texts
        }
        standing = await Together(workers, scheduler, until_end=True).run()
        assert (standing.scheduler["held_bytes"], standing.scheduler["held_executions"]) == (0, 0)
        return standing


def test_one_that_stops_does_not_end_the_other(tmp_path: Path) -> None:
    """Method: one workflow fails at its 500th row; what both committed is audited."""

    async def work(log: EmbeddedLog) -> None:
        good, bad = flow("good", "a", "b", 3), flow("bad", "c", "d")
        await send(log, "a", [{"n": n} for n in range(3_000)], partitions=2)
        await send(log, "c", [{"n": n if n != 500 else "x"} for n in range(3_000)])
        standing = await together(log, good, bad)
        assert standing.workflows["good"].report is not None
        assert standing.workflows["good"].report.halted is None
        stopped = standing.workflows["bad"].report
        assert stopped is not None
        assert stopped.halted is not None
        assert sorted(row["n"] for row in await values(log, "b")) == list(range(1, 3_001))
        assert [row["n"] for row in await values(log, "d")] == list(range(1, 501))
        for text in (good, bad):
            assert (await audited(log, compiled(text))).ok

    asyncio.run(asyncio.wait_for(with_log(tmp_path / "log", work), 120))


def test_what_one_writes_another_reads_before_both_end(tmp_path: Path) -> None:
    async def work(log: EmbeddedLog) -> None:
        await send(log, "a", [{"n": n} for n in range(2_000)], partitions=2)
        await together(log, flow("second", "b", "c"), flow("first", "a", "b"))
        assert sorted(row["n"] for row in await values(log, "c")) == list(range(2, 2_002))

    asyncio.run(asyncio.wait_for(with_log(tmp_path / "log", work), 120))


@pytest.mark.parametrize(("held_bytes", "executions"), [(1, 1), (1_500, 1_000_000), (1 << 20, 7)])
def test_a_small_budget_changes_no_output(tmp_path: Path, held_bytes: int, executions: int) -> None:
    """Method: two workflows where only one step at a time has room, or some executions; what comes out is the same."""

    async def work(log: EmbeddedLog) -> None:
        await send(log, "a", [{"n": n} for n in range(300)], partitions=2, batch=20)
        first, second = flow("first", "a", "b"), flow("second", "b", "c", 3)
        standing = await together(log, first, second, held_bytes_max=held_bytes, held_executions_max=executions)
        assert sorted(row["n"] for row in await values(log, "c")) == list(range(2, 302))
        assert standing.scheduler["waits_for_budget"] > 0
        assert standing.scheduler["held_executions_peak"] <= executions
        for text in (first, second):
            assert (await audited(log, compiled(text))).ok

    asyncio.run(asyncio.wait_for(with_log(tmp_path / "log", work), 240))


@pytest.mark.parametrize("held_bytes", [1, 3_000])
def test_tasks_that_merge_their_inputs_give_way_and_get_through(tmp_path: Path, held_bytes: int) -> None:
    """Method: a join of two topics behind repartitions, whose tasks hold what waits for its turn; compare with a run
    that may hold all it wants.
    """
    text = WORKFLOW.format(kind=KINDS["outer"], disorder=500, step_bytes=600)

    async def work(log: EmbeddedLog, limits: Limits) -> list[Any]:
        for topic, rows in zip(("ones", "others"), streams(60), strict=True):
            await send(log, topic, rows, partitions=3, batch=10)
        await run(compiled(text), log, limits=limits)
        assert (await audited(log, compiled(text))).ok
        found = [value for rows in (await contents(log, "out")).values() for _, _, value, _ in rows]
        return sorted(found)

    async def both() -> None:
        wide = await with_log(tmp_path / "wide", lambda log: work(log, Limits(threads=2)))
        small = Limits(threads=2, held_bytes_max=held_bytes, held_executions_max=5)
        assert await with_log(tmp_path / "small", lambda log: work(log, small)) == wide
        assert wide

    asyncio.run(asyncio.wait_for(both(), 240))


def test_a_task_holds_what_it_read_and_not_what_it_might_have_read(tmp_path: Path) -> None:
    """Method: far less lies on the topic than a step may take; what is read ahead counts in full until it is there."""
    text, step_bytes = flow("one", "a", "b").replace("500", "1000000"), 1_000_000

    async def work(log: EmbeddedLog) -> None:
        await send(log, "a", [{"n": n} for n in range(100)])
        topology, budget = compiled(text), SharedBudget(bytes_max=1 << 30, executions_max=1_000)
        topics = await ensure_topics(topology, log)
        with ThreadPoolExecutor(1) as executor:
            program = TaskProgram(topology, topology.stages[0], partition=0, tasks=1, topics=topics, nodes=registry())
            task = Task(topology, program, log, executor, budget=budget.part("one"))
            await task.start()
            fetched = await task.fetch()
            for _ in range(1_000):  # until what it reads ahead is there
                await asyncio.sleep(0.001)
                if budget.bytes_used < step_bytes:
                    break
            assert 0 < budget.bytes_used < 10_000
            assert budget.bytes_peak >= 2 * step_bytes
            await task.take(fetched)
            while await task.advance():
                pass
            await task.settle()
            await task.close()
        assert (budget.bytes_used, budget.executions_used) == (0, 0)
        assert len(await values(log, "b")) == 100

    asyncio.run(asyncio.wait_for(with_log(tmp_path / "log", work), 60))


def test_a_task_without_room_gives_way_though_something_else_moves_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: a table brings something each turn, while others have all the room; then its end is cut short."""
    text, everything = flow("one", "a", "b"), 1 << 30

    async def moves(*, idle: bool) -> bool:
        return True

    async def cut_short() -> None:
        raise asyncio.CancelledError

    async def work(log: EmbeddedLog) -> None:
        for _ in range(5):  # what one transaction wrote may come in one read
            await send(log, "a", [{"n": n} for n in range(100)])
        topology, budget = compiled(text), SharedBudget(bytes_max=everything, executions_max=1_000)
        topics = await ensure_topics(topology, log)
        with ThreadPoolExecutor(1) as executor:
            program = TaskProgram(topology, topology.stages[0], partition=0, tasks=1, topics=topics, nodes=registry())
            task = Task(topology, program, log, executor, clock_s=lambda: 0.0, budget=budget.part("one"))
            await task.start()
            assert await task.advance()
            assert budget.bytes_used > 0
            budget.change(everything)
            monkeypatch.setattr(task._reader, "look", moves)
            assert await task.advance()
            assert (budget.bytes_used, budget.executions_used) == (everything, 0)
            budget.change(-everything)
            assert await task.advance()
            assert budget.bytes_used > 0
            monkeypatch.setattr(task, "_drop_prefetched", cut_short)
            with pytest.raises(asyncio.CancelledError):
                await task.close()
            assert (budget.bytes_used, budget.executions_used) == (0, 0)
            monkeypatch.undo()
            await task.close()

    asyncio.run(asyncio.wait_for(with_log(tmp_path / "log", work), 60))


def test_a_process_that_runs_two_is_killed_again_and_again(tmp_path: Path) -> None:
    """Method: SIGKILL as soon as more was committed, three times; then to the end. Nothing lost, nothing doubled."""
    count = 20_000
    files = []
    for name in ("one", "two"):
        files.append(f"{name}.yaml")
        (tmp_path / files[-1]).write_text(flow(name, f"in.{name}", f"out.{name}").replace("500", "4000"))

    async def fill(log: EmbeddedLog) -> None:
        for name in ("one", "two"):
            await send(log, f"in.{name}", [{"n": n} for n in range(count)], partitions=2)

    asyncio.run(with_log(tmp_path / "log", fill))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", *files, "--until-end", "--log", "log", "--json"]

    async def done(log: EmbeddedLog) -> int:
        known = await log.topics()
        places = [TopicPartition(f"out.{n}", p) for n in ("one", "two") for p in (0, 1) if f"out.{n}" in known]
        return sum([(await log.offsets(at))[1] for at in places])

    for _ in range(3):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        async def watch(log: EmbeddedLog, process: subprocess.Popen[bytes] = process) -> None:
            before = await done(log)
            while process.poll() is None and await done(log) < before + 500:
                await log.wait({TopicPartition("in.one", 0): 1 << 60}, timeout_ms=2)

        try:
            asyncio.run(with_log(tmp_path / "log", watch))
        finally:
            process.kill()
            process.communicate()
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr.decode()
    assert set(json.loads(ended.stdout)["workflows"]) == {"one", "two"}

    async def check(log: EmbeddedLog) -> None:
        for name in ("one", "two"):
            assert sorted(row["n"] for row in await values(log, f"out.{name}")) == list(range(1, count + 1))

    asyncio.run(with_log(tmp_path / "log", check))
    for file in files:
        told = CliRunner().invoke(app, ["audit", str(tmp_path / file), "--log", str(tmp_path / "log"), "--json"])
        assert json.loads(told.stdout)["ok"], told.stdout


def test_a_signal_drains_all(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(flow(name, f"in.{name}", f"out.{name}"))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "one.yaml", "two.yaml", "--log", "log"]
    process = subprocess.Popen(
        [*command, "--metrics", "m.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while not (tmp_path / "m.json").exists() or not (tmp_path / "m.json").stat().st_size:
            assert process.poll() is None
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err.decode()
    assert [line.split(":")[0] for line in out.decode().splitlines()] == ["one", "two"]
    assert json.loads((tmp_path / "m.json").read_text())["state"] == "ended"


def test_one_that_stopped_is_told_of_and_may_be_run_elsewhere_while_the_other_runs_on(tmp_path: Path) -> None:
    """Method: a row that does not decode stops one; its lock is free, its error printed, its metrics say so."""
    for name in ("good", "bad"):
        (tmp_path / f"{name}.yaml").write_text(flow(name, f"in.{name}", f"out.{name}"))

    async def fill(log: EmbeddedLog) -> None:
        await send(log, "in.bad", [{"n": "x"}])

    asyncio.run(with_log(tmp_path / "log", fill))
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "good.yaml", "bad.yaml", "--log", "log"]
    process = subprocess.Popen(
        [*command, "--metrics", "m.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if line.startswith("error:"))
        assert line.startswith("error: bad: SF"), line

        async def lock(log: EmbeddedLog) -> None:
            with log.lock("bad"):
                pass
            with pytest.raises(LogBusy), log.lock("good"):
                pass

        asyncio.run(with_log(tmp_path / "log", lock))
        facts: dict[str, Any] = {}
        while not facts.get("workflows"):
            assert process.poll() is None
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                facts = json.loads((tmp_path / "m.json").read_text() or "{}")
        assert (facts["state"], facts["workflows"]["bad"]["state"]) == ("running", "halted")
        assert facts["workflows"]["good"]["state"] == "running"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, err
    assert "error:" not in err, "told once"
    assert [line.split(":")[0] for line in out.splitlines()] == ["good", "bad"]
    assert json.loads((tmp_path / "m.json").read_text())["state"] == "halted"
