"""Exactly once under SIGKILL with branches that come together again behind a wait and a repartition.

Method: numbered items go two ways, and are combined when both are through. The process is killed at each named step of
a commit; then it runs to the end. Each item has to come out once, with itself, and no gather keeps anything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from tests.simulation.auditing import audited
from tests.simulation.killing import NUMBER, Ground
from tests.simulation.random_executions import _nothing_is_gathered
from tests.simulation.running import compiled, send, values, with_log

WORKFLOW = """\
workflow: numbers
nodes:
  numbers: {type: event, topic: in.numbers, format: json, schema: number.avsc}
  moment: {type: wait, for: n % 3}
  some: {type: filter, when: n % 5 != 0}
  spread: {type: repartition, key: string(n % 7), partition_count: 2}
  both: {type: merge, mode: combine_by_key, keys: [n], join: outer}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> moment -> some -> both.left
  - numbers -> spread -> both.right
  - both -> out
policies: {commit_interval: 1ms, step_bytes_max: 8192, partitions: 2}
"""
COUNT = 1_000


def made(folder: Path, *options: str) -> Ground:
    ground = Ground(folder, COUNT, options=options)
    (folder / "workflow.yaml").write_text(WORKFLOW)
    (folder / "number.avsc").write_text(NUMBER)
    items = [{"n": n} for n in range(COUNT)]
    asyncio.run(with_log(ground.log, lambda log: send(log, "in.numbers", items, partitions=2)))
    return ground


def check(ground: Ground) -> None:
    async def read(log: EmbeddedLog) -> None:
        topology = compiled(WORKFLOW, ground.folder)
        found = [(row["n"], row["n_right"]) for row in await values(log, "out")]
        doubled = [n for (_, n), times in Counter(found).items() if times > 1]
        assert not doubled, doubled[:5]
        assert sorted(found, key=lambda pair: pair[1]) == [(n if n % 5 else None, n) for n in range(COUNT)]
        report = await audited(log, topology)
        assert report.ok, report.text()
        await _nothing_is_gathered(topology, log)

    ground.on_log(read)


@pytest.mark.parametrize("point", ["after-outputs", "torn-frame", "after-frame", "before-store"])
def test_kills_while_branches_come_together(point: str, tmp_path: Path) -> None:
    ground = made(tmp_path)
    passed = [ground.crash(f"{point}:{nth}") for nth in (5, 23)]
    assert passed[0], f"{point} was not passed so often"
    for _ in range(2):  # what waits for the clock when a run ends goes on in the next
        ground.finish()
    check(ground)


def test_kills_with_state_on_disk(tmp_path: Path) -> None:
    ground = made(tmp_path, "--state", "rocksdb", "--state-dir", "state")
    for point in ("after-frame:9", "before-store:12"):
        assert ground.crash(point), point
    for _ in range(2):
        ground.finish()
    check(ground)
