"""Loops on a log: whatever the steps, whatever fails. Items of a file go round in batches that span commits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, with_log
from tests.simulation.test_faults import persist

WORKFLOW = """
workflow: loops
nodes:
  start: {{type: file, path: items.jsonl}}
  threes: {{type: loop, mode: for-each, batch_size: 3}}
  part: {{type: set, fields: {{part: loop.index}}}}
  halves: {{type: loop, mode: while, when: long(v) > 0, limit: 4, collect: v}}
  half: {{type: set, fields: {{v: long(v) // 2}}}}
  pairs: {{type: split, field: xs, keep: true}}
  twice: {{type: loop, mode: for, times: "2"}}
  xs: {{type: set, fields: {{xs: "[1, 2]"}}}}
  o1: {{type: publish, topic: o1, format: json, partitions: 1}}
  o2: {{type: publish, topic: o2, format: json, partitions: 1}}
connections:
  - start -> threes
  - threes.body -> part -> threes.back
  - threes.done -> halves
  - halves.body -> half -> halves.back
  - halves.done -> o1
  - halves.error -> twice
  - twice.body -> xs -> pairs -> twice.back
  - twice.done -> o2
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 1}}
"""


def topology(folder: Path, step_bytes: int) -> Topology:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"n": n, "v": n * 7 % 40}) for n in range(60)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return compiled(WORKFLOW.format(step_bytes=step_bytes), folder)


async def results(log: EmbeddedLog) -> dict[str, list[Any]]:
    """Values by topic, in order: times are those of reading the file."""
    found = {topic: await contents(log, topic) for topic in ("o1", "o2")}
    return {topic: [json.loads(row[2]) for row in parts[0]] for topic, parts in found.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    folder = tmp_path_factory.mktemp("whole")

    async def work(log: EmbeddedLog) -> None:
        await run(topology(folder, 1 << 20), log)
        found.update(await results(log))

    asyncio.run(with_log(folder / "log", work))
    assert all(row["part"] == row["n"] // 3 for row in found["o1"])
    assert found["o1"]
    assert found["o2"]
    return found


def test_steps_show_nowhere(tmp_path: Path, expected: dict[str, list[Any]]) -> None:
    async def work(log: EmbeddedLog) -> None:
        await run(topology(tmp_path, 200), log)
        assert await results(log) == expected
        await audited(log, topology(tmp_path, 200))

    asyncio.run(with_log(tmp_path / "log", work))


@pytest.mark.parametrize("seed", range(3))
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path, expected: dict[str, list[Any]]) -> None:
    async def work(log: EmbeddedLog) -> None:
        made = topology(tmp_path, 300)
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60))
        await persist(made, faulty, may_stop=True)
        assert await results(log) == expected
        await audited(log, made)

    asyncio.run(with_log(tmp_path / "log", work))
