"""A saga under SIGKILL: whatever is reserved is shipped or undone, and each effect is there once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from streamflow.runtime.cancels import ControlRecord, write_cancels
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology
from tests.golden.test_topologies import call
from tests.simulation.running import compiled, send, values, with_log
from tests.simulation.saga_server import STEPS, WORKFLOW, Shop, serving

ORDERS, KILLS = 400, 20
SHIPPED, UNDONE = ["reserve", "charge", "ship"], ["reserve", "charge", "refund", "release"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_order_is_shipped_or_undone_under_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    (tmp_path / "saga_steps.py").write_text(STEPS)
    orders = [{"id": n} for n in range(ORDERS)]
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "orders", orders, partitions=2, batch=5)))
    choose = random.Random(1)
    with serving(Shop(seed=7), seconds=0.004) as shop:
        for kill in range(KILLS):
            assert _kill_after(tmp_path, shop, choose.randrange(5, 60)), f"over after {kill} kills: give it more orders"
        out, err = _start(tmp_path, shop).communicate(timeout=240)
        assert "records in" in out.decode() + err.decode()
    done: dict[str, list[str]] = defaultdict(list)
    for step, order in shop.effects:
        done[order].append(step)
    assert len(done) == ORDERS
    assert [steps for steps in done.values() if steps not in (SHIPPED, UNDONE)] == []
    outcomes = Counter(tuple(steps) for steps in done.values())
    assert outcomes[tuple(UNDONE)] > 50
    assert max(shop.requests.values()) > 1, "no step was asked for again: the kills met no work"

    shipped = asyncio.run(with_log(tmp_path / "log", lambda log: values(log, "shipped")))
    assert sorted(item["id"] for item in shipped) == sorted(int(o) for o, s in done.items() if s == SHIPPED)
    at = (tmp_path / "workflow.yaml", "--log", tmp_path / "log", "--json")
    assert json.loads(call("audit", *at))["ok"]
    dead = json.loads(call("dlq", "list", *at))
    assert dead["total"] == outcomes[tuple(UNDONE)]
    assert {(d["node"], d["code"]) for d in dead["dead_letters"]} == {("ship", "exception")}


CANCELLING = (
    WORKFLOW.replace("reserve -> charge", "reserve -> pause -> charge")
    .replace("  charge:", "  pause:   {type: wait, for: 200ms}\n  charge:")
    .replace("on_error: compensate", "on_error: compensate, executions: all")
)
CANCELS, ENDS = 80, [SHIPPED, UNDONE, ["reserve", "release"], []]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cancelled_order_is_undone_or_was_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with orders that are cancelled between kills, wherever they are: what is reserved is shipped or
    released, each once.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "workflow.yaml").write_text(CANCELLING)
    (tmp_path / "saga_steps.py").write_text(STEPS)
    orders, choose = [{"id": n} for n in range(200)], random.Random(2)
    asyncio.run(with_log(tmp_path / "log", lambda log: send(log, "orders", orders, partitions=2, batch=5)))
    topology = compiled(CANCELLING, tmp_path)
    at = (tmp_path / "workflow.yaml", "--log", tmp_path / "log", "--json")
    with serving(Shop(seed=7), seconds=0.004) as shop:
        for _ in range(8):
            assert _kill_after(tmp_path, shop, choose.randrange(5, 40)), "over too early: give it more orders"
            numbers = choose.sample(range(len(orders)), CANCELS // 8)
            asyncio.run(with_log(tmp_path / "log", lambda log, numbers=numbers: _cancel(log, topology, numbers)))
        for _ in range(20):  # a run does not wait for what waits
            _start(tmp_path, shop).communicate(timeout=240)
            stands = json.loads(call("executions", "list", *at))["totals"]
            if not {"waiting", "running"} & set(stands):
                break
    done: dict[str, list[str]] = {str(order["id"]): [] for order in orders}
    for step, order in shop.effects:
        done[order].append(step)
    assert [steps for steps in done.values() if steps not in ENDS] == []
    outcomes = Counter(tuple(steps) for steps in done.values())
    assert stands["cancelled"] >= outcomes["reserve", "release"] + outcomes[()]
    assert sum(stands.values()) == len(orders), stands
    assert outcomes["reserve", "release"] > 5
    assert json.loads(call("audit", *at))["ok"]


async def _cancel(log: Log, topology: Topology, numbers: list[int]) -> None:
    of = (await log.topics())["orders"].incarnation
    producer = await log.producer("cancel")
    cancels = [ControlRecord(execution=f"orders#{of}/{n % 2}:{n // 2}") for n in numbers]
    await write_cancels(log, producer, topology, cancels, now_ms=time.time_ns() // 1_000_000)
    await producer.close()


def _start(folder: Path, shop: Shop) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--until-end", "--log", "log"]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    environment = {**os.environ, "SAGA_PORT": str(shop.port), "PYTHONPATH": path}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _kill_after(folder: Path, shop: Shop, requests: int) -> bool:
    """SIGKILL a run after so many more requests; False if it ended before."""
    wanted = shop.requests.total() + requests
    process = _start(folder, shop)
    deadline = time.monotonic() + 120
    while process.poll() is None and shop.requests.total() < wanted:
        assert time.monotonic() < deadline, "the run stands still"
        time.sleep(0.002)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running
