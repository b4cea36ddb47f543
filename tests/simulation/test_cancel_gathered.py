"""Executions that are cancelled while some of their rows are gathered: nothing of them comes out of the merge.

Method: see test_cancel.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.running import compiled, values
from tests.simulation.test_cancel import Ground, out, proven
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched

BRANCHES = """
workflow: cancels
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  reserve: {type: set, fields: {reserved: true}, compensate: release}
  pause: {type: wait, for: 10s}
  both: {type: merge, mode: combine_by_position}
  out: {type: publish, topic: out, format: json}
  release: {type: publish, topic: released, format: json}
connections:
  - start -> reserve -> pause -> both.left
  - reserve -> both.right
  - both -> out
policies: {executions: all, on_error: compensate, commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


@pytest.mark.parametrize("restart", [False, True])
def test_nothing_of_them_is_merged(restart: bool, tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(BRANCHES, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        ground = Ground(bench, restart=restart)
        await ground.begin()
        await ground.items(*range(8))
        for now in range(0, 60, 10):  # the direct branch is gathered, the other waits
            await ground.at(now)
        await ground.cancel(1, 2, 6)
        for now in range(20_000, 20_200, 10):
            await ground.at(now)
        assert await out(bench.log) == [0, 3, 4, 5, 7]
        assert await ground.standing(1, 2, 6) == ["cancelled"] * 3
        assert await ground.standing(0, 3, 4, 5, 7) == ["completed"] * 5
        assert {row["n"] for row in await values(bench.log, "released")} == {1, 2, 6}
        await proven(ground, tmp_path)

    benched(tmp_path, topology, work)
