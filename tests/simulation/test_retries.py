"""Retries in place on a log: waits where it runs, none where it is replayed, and the same outputs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamflow.runtime.context import StepClock
from tests.simulation.running import compiled, values
from tests.simulation.test_parked import send
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

WORKFLOW = """\
workflow: tried
nodes:
  numbers: {type: event, topic: in, format: json}
  shaky:
    type: function
    function: "tests.simulation.shaky:thirds"
    retry: {attempts: 3, delay: 2s, backoff: linear, jitter: 0.1}
  out: {type: publish, topic: out, format: json}
connections: [numbers -> shaky -> out]
policies: {commit_interval: 1ms, step_bytes_max: 300}
"""


def test_a_replay_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    slept: list[float] = []

    def pause(clock: StepClock, seconds: float) -> None:
        waits.append(seconds)
        if clock.sleep is time.sleep:
            slept.append(seconds)

    monkeypatch.setattr(StepClock, "pause", pause)
    topology = compiled(WORKFLOW, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, [(0, n) for n in range(1, 20)])
        await bench.start("numbers", 0)
        await bench.work("numbers", 0)
        assert [item["n"] for item in await values(bench.log, "out")] == [n for n in range(1, 20) if n % 3]
        assert waits == slept
        assert all(
            1.8 <= first <= 2.2 and 3.6 <= second <= 4.4 for first, second in zip(*[iter(waits)] * 2, strict=True)
        )
        live = list(waits)
        await replays(topology, bench.log, tmp_path)
        assert waits == live * 2, "what would have been waited, drawn again"
        assert slept == live

    benched(tmp_path, topology, work)
