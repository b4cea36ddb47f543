"""Windows on a log: two behind each other with a topic between, whatever the steps, and whatever fails."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.running import compiled, run, send, values, with_log
from tests.simulation.test_faults import persist

SECOND = 1_000
# The first window waits 2 s for rows that are late; were time not held back behind it, the second would drop them all.
WORKFLOW = """
workflow: chained
nodes:
  start: {{type: event, topic: in, format: json, partitioned_by: string(k), time: long(t), disorder: 500ms}}
  first:
    type: window
    key: string(k)
    size: 1s
    grace: 2s
    fields: {{n: {{function: count}}, sum: {{function: sum, of: long(v)}}}}
  second:
    type: window
    key: sum % 3
    key_field: rest
    size: 5s
    fields: {{windows: {{function: count}}, rows: {{function: sum, of: n}}}}
  late: {{type: publish, topic: late, format: json}}
  later: {{type: publish, topic: later, format: json}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> first -> second -> out
  - first.late -> late
  - second.late -> later
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 3}}
"""


def items(count: int) -> list[dict[str, int | str]]:
    rng = random.Random(7)
    rows: list[dict[str, int | str]] = []
    for i in range(count):
        behind = rng.choice([0, 0, 0, 300, 1_500, 9_000])
        rows.append({"k": f"k{rng.randrange(6)}", "t": max(40 * i - behind, 0), "v": rng.randrange(50)})
    # Time goes to its end on every partition, and every window closes.
    return [*rows, *({"k": "end", "t": 10**9, "v": 0} for _ in range(30))]


def expected(rows: list[dict[str, Any]], partitions: int) -> tuple[Counter[tuple[object, ...]], int]:
    """Rows of the second window, and how many rows the first one calls late, by a model that goes row by row."""
    now, late = [-(10**9)] * partitions, 0
    first: dict[tuple[str, int], list[int]] = defaultdict(list)
    latest: dict[tuple[str, int], int] = {}
    for i, row in enumerate(rows):
        now[i % partitions] = max(now[i % partitions], row["t"] - 500)
        window = row["k"], row["t"] - row["t"] % SECOND
        if window[1] + SECOND + 2 * SECOND <= min(now):
            late += 1
            continue
        first[window].append(row["v"])
        latest[window] = max(latest.get(window, 0), row["t"])
    second: Counter[tuple[object, ...]] = Counter()
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for window, held in first.items():
        at = latest[window]
        found[sum(held) % 3, at - at % (5 * SECOND)].append(len(held))
    for (rest, start), counts in found.items():
        if start < 10**8:
            second[rest, start, len(counts), sum(counts)] += 1
    return second, late


async def results(log: EmbeddedLog) -> tuple[Counter[tuple[object, ...]], int, int]:
    made: Counter[tuple[object, ...]] = Counter()
    for row in await values(log, "out"):
        start = round(datetime.fromisoformat(row["window_start"]).timestamp() * 1000)
        if start < 10**8:
            made[row["rest"], start, row["windows"], row["rows"]] += 1
    return made, len(await values(log, "late")), len(await values(log, "later"))


@pytest.mark.parametrize("step_bytes", [200, 4_000, 1 << 20])
def test_windows_behind_windows(step_bytes: int, log_folder: Path) -> None:
    rows = items(600)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=5)
        await run(compiled(WORKFLOW.format(step_bytes=step_bytes)), log)
        made, late, later = await results(log)
        assert (made, late) == expected(rows, 1)
        assert later == 0

    asyncio.run(with_log(log_folder, work))


@pytest.mark.parametrize("seed", range(12))
def test_any_fault_loses_and_doubles_nothing(seed: int, log_folder: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs: windows are those of a run without any."""
    rows = items(150)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=5)
        topology = compiled(WORKFLOW.format(step_bytes=1_000))
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60))
        await persist(topology, faulty, may_stop=True)
        made, late, later = await results(log)
        assert (made, late, later) == (*expected(rows, 1), 0)

    asyncio.run(with_log(log_folder, work))


SLIDING = """
workflow: sliding
nodes:
  start: {type: event, topic: in, format: json, key: string(k), partitioned_by: string(k), time: long(t), disorder: 9s}
  near: {type: window, key: string(k), shape: sliding, size: 1s, fields: {n: {function: count}}}
  often: {type: window, key: string(k), size: 1s, emit: every, every: 700ms, fields: {n: {function: count}}}
  near_out: {type: publish, topic: near, format: json}
  often_out: {type: publish, topic: often, format: json}
connections: [start -> near -> near_out, start -> often -> often_out]
policies: {commit_interval: 1ms, step_bytes_max: 1000, partitions: 2}
"""


@pytest.mark.parametrize("seed", range(4))
def test_windows_that_slide_and_those_given_often_bear_any_fault(seed: int, log_folder: Path) -> None:
    """The last that is given of each window: a sliding one comes once, the others are complete when they close."""
    rows = [row for row in items(100) if row["k"] != "end"]
    slid: Counter[tuple[object, ...]] = Counter()
    plain: Counter[tuple[object, ...]] = Counter()
    for key in {row["k"] for row in rows}:
        times = [int(row["t"]) for row in rows if row["k"] == key]
        plain += Counter((key, t - t % SECOND) for t in times)
        for start in {0 if t < SECOND else t - SECOND for t in times} | {t + 1 for t in times}:
            slid[key, start] = sum(start <= t <= start + SECOND for t in times)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [*rows, *({"k": "end", "t": 10**9} for _ in range(12))], batch=5)
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60))
        await persist(compiled(SLIDING), faulty, may_stop=True)
        near = [(*_window(row), row["n"]) for row in await values(log, "near") if row["key"] != "end"]
        assert sorted(near) == sorted((*window, n) for window, n in slid.items() if n)
        often = {_window(row): row["n"] for row in await values(log, "often") if row["key"] != "end"}
        assert often == plain

    asyncio.run(with_log(log_folder, work))


def _window(row: dict[str, Any]) -> tuple[str, int]:
    return row["key"], round(datetime.fromisoformat(row["window_start"]).timestamp() * 1000)
