"""At least once: outputs are seen when their step is done, none is lost, and what was not committed may come twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import APPEND_POINTS, POINTS
from streamflow.testing.faulty_log import Fault, FaultyLog
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import Bench

WORKFLOW = """
workflow: early
nodes:
  numbers: {type: event, topic: in, format: json}
  moved: {type: repartition, key: string(n % 3)}
  counted: {type: set, fields: {seen: n}}
  out: {type: publish, topic: out, format: json}
  copied: {type: publish, topic: copy, format: json}
connections:
  - numbers -> moved -> counted -> out
  - numbers -> copied
policies: {guarantee: at_least_once, partitions: 2, commit_interval: 10s, step_bytes_max: 200}
"""
COUNT = 60


async def feed(log: EmbeddedLog) -> None:
    await send(log, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=3)


async def numbers(log: EmbeddedLog, topic: str) -> list[int]:
    return [item["n"] for item in await values(log, topic)]


async def held(log: EmbeddedLog, topic: str) -> int:
    return sum(map(len, (await contents(log, topic)).values()))


def test_outputs_are_seen_before_the_commit_and_what_is_between_stages_is_not(tmp_path: Path) -> None:
    """Method: a task by hand whose clock stands still, so that no commit is due; then it is dropped for another one."""
    plan = compiled(WORKFLOW)

    async def scenario(log: EmbeddedLog) -> None:
        await feed(log)
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(plan, log, executor)
            await bench.start("numbers", 0)
            task = bench.tasks["numbers", 0]
            while await task.advance():
                pass
            mine = list(range(0, COUNT, 2))
            assert await numbers(log, "copy") == mine
            assert task.metrics.commits == 0
            assert await log.committed(task.group, [TopicPartition("in", 0)]) == {}
            between = next(t.name for t in plan.topics if t.kind == "repartition")
            assert await held(log, between) == 0
            await task.close()
            await bench.start("numbers", 0)  # as after a crash
            await bench.work("numbers", 0)
            assert await numbers(log, "copy") == mine + mine
            assert await held(log, between) == len(mine)
            assert bench.tasks["numbers", 0].metrics.commits == 1
            await bench.close()

    asyncio.run(with_log(tmp_path / "log", scenario))


def test_outputs_that_wait_are_there_before_their_commit(tmp_path: Path) -> None:
    """Method: a step by hand, and the commit straight behind it."""

    async def scenario(log: EmbeddedLog) -> None:
        await feed(log)
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(compiled(WORKFLOW), log, executor)
            await bench.start("numbers", 0)
            task = bench.tasks["numbers", 0]
            came = await task.fetch()
            assert came
            await task.process(came, until=dict.fromkeys(came), now_ms=bench.now_ms)
            assert await numbers(log, "copy") == []
            await task.commit()
            assert await numbers(log, "copy") == [0, 2, 4]  # what a reading of 200 bytes gave
            await bench.close()

    asyncio.run(with_log(tmp_path / "log", scenario))


def test_a_run_without_a_crash_gives_everything_once(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await feed(log)
        plan = compiled(WORKFLOW.replace("10s", "5ms"))
        await run(plan, log)
        assert sorted(await numbers(log, "out")) == sorted(await numbers(log, "copy")) == list(range(COUNT))
        report = await audited(log, plan)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", scenario))


@pytest.mark.parametrize("fault", [
    Fault("append_at_once", 1), Fault("append_at_once", 4), Fault("append_at_once", 3, "slow"), Fault("appender", 2),
    Fault("commit", 1, "unknown_before"), Fault("commit", 2, "unknown_after"), Fault("begin", 2, "fenced"),
])  # fmt: skip
def test_faults_lose_nothing_and_keep_the_order(fault: Fault, tmp_path: Path) -> None:
    async def scenario(inner: EmbeddedLog) -> None:
        await feed(inner)
        await persist(compiled(WORKFLOW.replace("10s", "5ms")), FaultyLog(inner, [fault]), may_stop=True)
        await complete(inner)

    asyncio.run(with_log(tmp_path / "log", scenario))


async def complete(log: EmbeddedLog) -> dict[str, Counter[int]]:
    """Both topics hold everything, and where something comes again, all behind it does, in its order."""
    found = {}
    for topic in ("out", "copy"):
        found[topic] = Counter(await numbers(log, topic))
        assert set(found[topic]) == set(range(COUNT)), topic
    for rows in (await contents(log, "copy")).values():
        in_order([int(value[value.index(b":") + 1 : -1]) for _, _, value, _ in rows])
    return found


def in_order(rows: Sequence[int]) -> None:
    """A run goes forward one by one; where it goes back, it goes on from there."""
    step = 2  # a partition has every second number
    for before, after in pairwise(rows):
        assert after == before + step or after <= before, rows


def process(folder: Path, crash_at: str = "") -> int:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "STREAMFLOW_CRASH_AT": crash_at, "PYTHONPATH": root}
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--log", "log", "--until-end"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=240, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


@pytest.mark.parametrize("point", [*APPEND_POINTS, "before-begin", "after-frame"])
def test_a_killed_process_loses_nothing(point: str, tmp_path: Path) -> None:
    assert point in (*APPEND_POINTS, *POINTS)
    (tmp_path / "workflow.yaml").write_text(WORKFLOW.replace("10s", "5ms"))
    asyncio.run(with_log(tmp_path / "log", feed))
    assert process(tmp_path, f"{point}:5") == -signal.SIGKILL
    assert process(tmp_path) == 0
    found = asyncio.run(with_log(tmp_path / "log", complete))
    again = sum(sum(times.values()) for times in found.values()) - 2 * COUNT
    if point == "after-append":
        assert again > 0  # they were seen, and not committed
    assert again < 2 * COUNT


def test_exactly_once_gives_nothing_before_the_commit(tmp_path: Path) -> None:
    """The counterpart: the same steps under the other guarantee."""
    plan = compiled(WORKFLOW)
    plan = replace(plan, run=replace(plan.run, guarantee="exactly_once"))

    async def scenario(log: EmbeddedLog) -> None:
        await feed(log)
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(plan, log, executor)
            await bench.start("numbers", 0)
            while await bench.tasks["numbers", 0].advance():
                pass
            assert await numbers(log, "copy") == []
            await bench.work("numbers", 0)
            assert await numbers(log, "copy") == list(range(0, COUNT, 2))
            await bench.close()

    asyncio.run(with_log(tmp_path / "log", scenario))
