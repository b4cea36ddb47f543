"""Exactly once under SIGKILL where the first branch wins and the others stop.

Method: see test_gather_kill. The branch that loses would wait for 7 days: if it did not stop, the gather would still
keep what it knows of the execution when the run is over. For some items it is the only one that is taken.
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
  long: {type: wait, for: '0 if n % 5 == 0 else 604800'}
  slow: {type: set, fields: {way: '"slow"'}}
  some: {type: filter, when: n % 5 != 0}
  spread: {type: repartition, key: string(n % 7), partition_count: 2}
  quick: {type: set, fields: {way: '"quick"'}}
  first: {type: merge, mode: first}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> long -> slow -> first.left
  - numbers -> some -> spread -> quick -> first.right
  - first -> out
policies: {commit_interval: 1ms, step_bytes_max: 8192, partitions: 2, executions: all}
"""
COUNT = 1_000


def check(ground: Ground) -> None:
    async def read(log: EmbeddedLog) -> None:
        topology = compiled(WORKFLOW, ground.folder)
        found = Counter((row["n"], row["way"]) for row in await values(log, "out"))
        assert found == Counter((n, "quick" if n % 5 else "slow") for n in range(COUNT))
        report = await audited(log, topology)
        assert report.ok, report.text()
        await _nothing_is_gathered(topology, log)

    ground.on_log(read)


@pytest.mark.parametrize("point", ["after-outputs", "torn-frame", "after-frame", "before-store"])
def test_kills_while_branches_lose(point: str, tmp_path: Path) -> None:
    ground = Ground(tmp_path, COUNT, options=())
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    (tmp_path / "number.avsc").write_text(NUMBER)
    items = [{"n": n} for n in range(COUNT)]
    asyncio.run(with_log(ground.log, lambda log: send(log, "in.numbers", items, partitions=2)))
    passed = [ground.crash(f"{point}:{nth}") for nth in (5, 23)]
    assert passed[0], f"{point} was not passed so often"
    for _ in range(2):
        ground.finish()
    check(ground)
