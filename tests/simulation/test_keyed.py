"""Keyed nodes on a log, one behind the other, with rows spread in every way: whatever the steps, whatever fails."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, with_log
from tests.simulation.test_faults import persist

# Keyed nodes stand behind repartitions of their own; what they give is spread by every strategy. One stage reads the
# topic before them, so that every task sees one order of rows, and its outputs are the same in every run.
WORKFLOW = """
workflow: keyed
nodes:
  start: {{type: event, topic: in, format: json, time: long(t), disorder: 400ms}}
  once: {{type: dedupe, key: string(k), within: 150ms}}
  slow: {{type: throttle, key: string(k), count: 2, per: 500ms}}
  settled: {{type: debounce, key: string(k), quiet: 200ms, at_most: 900ms}}
  follows: {{type: pattern, key: string(k), within: 700ms, steps: {{low: long(v) < 20, high: long(v) > 30}}}}
  sums: {{type: reduce, key: string(k), initial: 0, expression: (accumulator * 3 + long(v)) % 1000, forget: 5s}}
  o1: {{type: publish, topic: o1, format: json, partitions: 3, partition_by: round_robin}}
  o2: {{type: publish, topic: o2, format: json, partition_by: weighted, weights: [3, 1]}}
  o3: {{type: publish, topic: o3, format: json, partitions: 3, partition_by: random}}
  o4: {{type: publish, topic: o4, format: json, partitions: 2, partition_by: least_loaded}}
  o5: {{type: publish, topic: o5, format: json, partitions: 2, partition_by: expression, partition: value}}
  o6: {{type: publish, topic: o6, format: json}}
connections:
  - start -> once -> o1
  - start -> slow -> o2
  - start -> settled -> o3
  - start -> follows -> o4
  - follows.timeout -> o6
  - start -> sums -> o5
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 1}}
"""
TOPICS = ("o1", "o2", "o3", "o4", "o5", "o6")


def items(count: int) -> list[dict[str, int | str]]:
    rng = random.Random(11)
    rows: list[dict[str, int | str]] = []
    for i in range(count):
        behind = rng.choice([0, 0, 0, 100, 300])  # never late: what is, depends on how commits met (decision 0012)
        rows.append({"k": f"k{rng.randrange(6)}", "t": max(40 * i - behind, 0), "v": rng.randrange(50)})
    return [*rows, {"k": "end", "t": 10**9, "v": 0}]


async def results(log: EmbeddedLog) -> dict[str, object]:
    """Records by topic and partition. Where `random` puts them depends on which topic their trigger was made as, which
    differs between logs; so there only what they are.
    """
    found: dict[str, object] = {topic: await contents(log, topic) for topic in TOPICS}
    return found | {"o3": {0: sorted(row for rows in (await contents(log, "o3")).values() for row in rows)}}


async def left_alone(folder: Path, rows: list[dict[str, int | str]]) -> dict[str, object]:
    found: dict[str, object] = {}

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=50)
        await run(compiled(WORKFLOW.format(step_bytes=1 << 20)), log)
        found.update(await results(log))

    await with_log(folder, work)
    return found


def test_steps_show_nowhere(tmp_path: Path) -> None:
    rows = items(150)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=3)
        await run(compiled(WORKFLOW.format(step_bytes=200)), log)
        assert await results(log) == expected

    expected = asyncio.run(left_alone(tmp_path / "whole", rows))
    assert all(any(part.values()) for part in expected.values())  # type: ignore[attr-defined]
    asyncio.run(with_log(tmp_path / "steps", work))


@pytest.mark.parametrize("seed", range(4))
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs: rows, and the partitions they are in, as without any."""
    rows = items(90)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=5)
        topology = compiled(WORKFLOW.format(step_bytes=1_000))
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60))
        await persist(topology, faulty, may_stop=True)
        assert await results(log) == expected
        await audited(log, topology)

    expected = asyncio.run(left_alone(tmp_path / "whole", rows))
    asyncio.run(with_log(tmp_path / "log", work))
