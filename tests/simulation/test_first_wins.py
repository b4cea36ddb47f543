"""Branches of which the first wins: what an execution has on the others ends where it is, and the execution goes on.

Method: see test_cancel. Which branch is first is decided by the clock that the test sets.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars as pl
import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.task import Task
from streamflow.sdk.log import TopicSpec
from streamflow.topology.plan import Topology
from streamflow.workers.driver import AnyTask
from tests.simulation.histories import records_of, stand
from tests.simulation.random_executions import _nothing_is_gathered
from tests.simulation.running import compiled, run, values, with_log
from tests.simulation.test_cancel import Ground, out, proven
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, send_at

RACE = """
workflow: cancels
nodes:
  start: {{type: event, topic: in, format: json, schema: n.avsc, key: string(n)}}
  {slow}
  done: {{type: set, keep: [n], fields: {{acted: true}}}}
  soon: {{type: wait, for: 1s}}
  quick: {{type: set, fields: {{acted: false}}}}
  first: {{type: merge, mode: first{more}}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> {way} -> done -> first.left
  - start -> soon -> quick -> first.right
  - first -> out
policies: {{executions: {executions}, commit_interval: 1ms, step_bytes_max: 300, partitions: 2{policies}}}
"""
FAILS = "type: set, fields: {k: 1 // (n - n)}"
SLOW = {
    "for": ("slow: {type: wait, for: 7d}", "slow"),
    "signal": ("slow: {type: wait, signal: go}", "slow"),
    "until": ("slow: {type: wait, until: timestamp('2099-01-01T00:00:00Z')}", "slow"),
    "parked": (f"slow: {{{FAILS}, retry: {{attempts: 9, delay: 1d, mode: park}}}}", "slow"),
    "delayed": (f"slow: {{{FAILS}, retry: {{attempts: 9, delay: 1d, mode: delay}}}}", "slow"),
    "behind": (
        "moved: {type: repartition, key: string(n % 3)}\n  slow: {type: wait, for: 7d}",
        "moved -> slow",
    ),
    "twice": ("slow: {type: wait, for: 500ms}\n  longer: {type: wait, for: 7d}", "slow -> longer"),
}


def made(tmp_path: Path, slow: str, **more: str) -> Topology:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    node, way = SLOW[slow]
    given = {"more": "", "executions": "all", "policies": "", **more}
    return compiled(RACE.format(slow=node, way=way, **given), tmp_path, nodes=NODES)


async def nodes_of(ground: Ground) -> dict[tuple[str, str], int]:
    """Rows by node and counter, of all executions together."""
    records = await records_of(ground.log, ground.bench.topology)
    each = records.select("nodes").explode("nodes").unnest("nodes").drop_nulls("node")
    sums = each.group_by("node").agg(pl.col("cancelled", "filtered", "absorbed", "released").sum())
    return {(row["node"], name): row[name] for row in sums.iter_rows(named=True) for name in row if name != "node"}


async def nothing_waits(ground: Ground) -> None:
    assert isinstance(ground.log, EmbeddedLog)
    await _nothing_is_gathered(ground.bench.topology, ground.log)
    for task in ground.bench.tasks.values():
        endings = task._program.endings
        assert endings is None or not endings.lost_at, "the race is not over"


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("slow", SLOW)
def test_the_other_branch_stops(slow: str, restart: bool, tmp_path: Path) -> None:
    topology = made(tmp_path, slow)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        await ground.begin()
        await ground.items(*range(12))
        for now in (0, 10, 600, 610):
            await ground.at(now)
        assert await ground.standing(0, 11) == ["waiting"] * 2
        for now in range(1_010, 1_200, 10):
            await ground.at(now)
        assert await out(bench.log) == list(range(12))
        assert {row["acted"] for row in await values(bench.log, "out")} == {False}
        assert await ground.standing(*range(12)) == ["completed"] * 12
        assert (await records_of(ground.log, topology))["error_code"].is_null().all()
        found = await nodes_of(ground)
        last = "longer" if slow == "twice" else "slow"
        assert found[last, "cancelled"] == 12, found
        assert ("done", "cancelled") not in found
        await nothing_waits(ground)
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


def test_without_a_history_as_well(tmp_path: Path) -> None:
    topology = made(tmp_path, "signal", executions="none")

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(*range(6))
        for now in (0, 10, *range(1_010, 1_200, 10)):
            await ground.at(now)
        assert await out(bench.log) == list(range(6))
        await nothing_waits(ground)

    benched(tmp_path, topology, work)


def test_others_may_finish(tmp_path: Path) -> None:
    topology = made(tmp_path, "for", more=", others: finish")
    assert not any(stage.races for stage in topology.stages)

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(*range(6))
        for now in (0, 10, *range(1_010, 1_200, 10)):
            await ground.at(now)
        assert await out(bench.log) == list(range(6))
        assert await ground.standing(0, 5) == ["waiting"] * 2

    benched(tmp_path, topology, work)


AT_ONCE = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  slow: {type: wait, for: 7d}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
connections:
  - start -> slow -> first.left
  - start -> first.right
  - first -> out
policies: {executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


def test_a_run_does_not_end_before_each_task_has_heard(tmp_path: Path) -> None:
    """Method: the last task to look into the control topic does not, until the worker has asked often whether all is at
    its end.
    """
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(AT_ONCE, tmp_path, nodes=NODES)
    last = next(s.id for s in topology.stages if any(n.id == "slow" for n in s.nodes)) + "/1"
    asked = 0

    async def work(log: EmbeddedLog) -> None:
        nonlocal asked
        await log.create_topic(TopicSpec(name="in", partitions=2))
        for p in range(2):
            await send_at(log, "in", p, [(n, n) for n in range(12) if n % 2 == p], batch=3)

        async def turn(task: AnyTask) -> bool:
            nonlocal asked
            if isinstance(task, Task) and task.name == last and await told(log, topology) and asked < 100:
                asked += 1
                await asyncio.sleep(0.01)
                return False
            return await task.advance()

        await run(topology, log, nodes=NODES, turn=turn)
        found = stand(await records_of(log, topology), topology)
        assert set(found["status"].to_list()) == {"completed"}, found
        assert len(found) == 12

    asyncio.run(with_log(tmp_path / "log", work))
    assert asked


async def told(log: EmbeddedLog, topology: Topology) -> bool:
    """Whether a branch has been said to have lost."""
    (name,) = [t.name for t in topology.topics if t.kind == "control"]
    return (await log.offsets(TopicPartition(name, 0)))[1] > 0


COMES_LATER = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
  noted: {type: publish, topic: noted, format: json}
  slow: {type: wait, for: 7d}
  soon: {type: wait, for: 1s}
  quick: {type: set, fields: {quick: true}}
  late: {type: wait, for: 5s}
  which: {type: if, when: n % 2 == 0}
  none: {type: set, fields: {quick: false}}
connections:
  - start -> soon -> quick -> first.left
  - start -> late -> which
  - which.true -> slow -> none -> first.right
  - which.false -> noted
  - first -> out
policies: {executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


def test_what_comes_to_the_branch_later_ends_there(tmp_path: Path) -> None:
    """The wait before the branch leads elsewhere, too: what it holds goes on, and ends where the branch begins."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(COMES_LATER, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(*range(8))
        for now in (0, 10, *range(1_010, 1_200, 10)):
            await ground.at(now)
        assert await out(bench.log) == list(range(8))
        assert await ground.standing(0, 1) == ["waiting"] * 2  # in `late`
        for now in range(5_010, 5_200, 10):
            await ground.at(now)
        assert await ground.standing(*range(8)) == ["completed"] * 8
        assert await out(bench.log, "noted") == [1, 3, 5, 7]
        found = await nodes_of(ground)
        assert found["slow", "cancelled"] == 4
        assert found["slow", "absorbed"] == 0
        await nothing_waits(ground)
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


COMPENSATED = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  reserve: {type: set, fields: {reserved: true}, compensate: release}
  slow: {type: wait, for: 7d}
  soon: {type: wait, for: 1s}
  quick: {type: set, fields: {reserved: false}}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
  release: {type: publish, topic: released, format: json}
connections:
  - start -> reserve -> slow -> first.left
  - start -> soon -> quick -> first.right
  - first -> out
policies: {executions: all, on_error: compensate, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


def test_steps_of_the_other_branch_stay_done(tmp_path: Path) -> None:
    """A cancel of the whole execution undoes them."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(COMPENSATED, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench)
        await ground.begin()
        await ground.items(*range(6))
        for now in (0, 10):
            await ground.at(now)
        await ground.cancel(5)
        for now in (20, 30, 40, *range(1_010, 1_200, 10)):
            await ground.at(now)
        assert await out(bench.log) == list(range(5))
        assert await ground.standing(*range(6)) == ["completed"] * 5 + ["cancelled"]
        assert await out(bench.log, "released") == [5]
        await nothing_waits(ground)
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)


ROUND = """
workflow: cancels
nodes:
  start: {{type: event, topic: in, format: json, schema: n.avsc, key: string(n)}}
  poll: {{type: loop, mode: for, times: 3}}
  slow: {{type: wait, for: {wait}}}
  soon: {{type: wait, for: 1s}}
  first: {{type: merge, mode: first}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> poll
  - poll.body -> slow -> poll.back
  - poll.done -> first.left
  - start -> soon -> first.right
  - first -> out
policies: {{executions: all, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}}
"""


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("wait", ["7d", "600ms"])  # in the first round, in the second
def test_a_loop_across_topics_stops(wait: str, restart: bool, tmp_path: Path) -> None:
    """What waits in its body, or is on its way back, has lost as well: nothing goes round until the loop is done."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(ROUND.format(wait=wait), tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        await ground.begin()
        await ground.items(*range(8))
        for now in (0, 10, 610, 620, *range(1_020, 1_200, 10)):
            await ground.at(now)
        assert await out(bench.log) == list(range(8))
        assert await ground.standing(*range(8)) == ["completed"] * 8
        found = await nodes_of(ground)
        assert found["slow", "cancelled"] == 8, found
        await nothing_waits(ground)
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)
