"""Changing tables on a log: the maximum of each item and means of those, whatever the steps and whatever fails."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.running import compiled, run, send, values, with_log
from tests.simulation.test_faults import persist

WORKFLOW = """
workflow: means
nodes:
  start: {{type: event, topic: in, format: json, key: string(article)}}
  typed: {{type: set, keep: [], fields: {{article: string(article), kind: string(kind), price: long(price)}}}}
  highest:
    type: window
    key: article
    by: {{kind: kind}}
    shape: unbounded
    emit: update
    fields: {{price: {{function: max, of: price}}}}
  means:
    type: window
    key: kind
    shape: unbounded
    emit: {emit}
    fields: {{n: {{function: count}}, mean: {{function: mean, of: price}}, most: {{function: max, of: price}}}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> typed -> highest -> means.in
  - highest.gone -> means.gone
  - means -> out
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}, partitions: 3}}
"""


def items(count: int) -> list[dict[str, Any]]:
    rng = random.Random(5)
    made = ((rng.randrange(12), rng.randrange(1_000)) for _ in range(count))
    return [{"article": f"i{item}", "kind": f"c{item % 4}", "price": price} for item, price in made]


def expected(rows: list[dict[str, Any]]) -> dict[str, tuple[int, float, int]]:
    highest: dict[tuple[str, str], int] = {}
    for row in rows:
        item = row["article"], row["kind"]
        highest[item] = max(highest.get(item, 0), row["price"])
    of_kind: dict[str, list[int]] = defaultdict(list)
    for (_, kind), price in highest.items():
        of_kind[kind].append(price)
    return {kind: (len(prices), sum(prices) / len(prices), max(prices)) for kind, prices in of_kind.items()}


async def results(log: EmbeddedLog) -> dict[str, tuple[int, float, int]]:
    return {row["kind"]: (row["n"], row["mean"], row["most"]) for row in await values(log, "out")}


@pytest.mark.parametrize("emit", ["update", "coalesced"])
@pytest.mark.parametrize("step_bytes", [1_000, 1 << 20])
def test_means_of_maxima(step_bytes: int, emit: str, log_folder: Path) -> None:
    rows = items(120)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=5)
        await run(compiled(WORKFLOW.format(step_bytes=step_bytes, emit=emit)), log)
        assert await results(log) == expected(rows)

    asyncio.run(with_log(log_folder, work))


@pytest.mark.parametrize("seed", range(6))
def test_any_fault_loses_and_doubles_nothing(seed: int, log_folder: Path) -> None:
    rows = items(80)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", rows, batch=5)
        faulty = FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60))
        await persist(compiled(WORKFLOW.format(step_bytes=500, emit="update")), faulty, may_stop=True)
        assert await results(log) == expected(rows)

    asyncio.run(with_log(log_folder, work))
