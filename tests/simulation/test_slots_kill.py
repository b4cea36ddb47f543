"""Exactly once under SIGKILL with executions that wait for slots: none is lost, none begins twice, no slot leaks.

Method: numbered items come through three slots and wait a moment behind them. The process is killed at each named step
of a commit, again and again; then it runs to the end. What was under way at once is read from the history.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from tests.simulation.auditing import audited
from tests.simulation.killing import NUMBER, Ground
from tests.simulation.running import compiled, send, values, with_log
from tests.simulation.slots_checker import under_way

WORKFLOW = """\
workflow: numbers
nodes:
  numbers: {type: event, topic: in.numbers, format: json, schema: number.avsc}
  gate: {type: slots, executions: 3, priority: n % 4, queue_max: 20, partitions: 2}
  moment: {type: wait, for: n % 3}
  out: {type: publish, topic: out, format: json}
connections: [numbers -> gate -> moment -> out]
policies: {commit_interval: 1ms, step_bytes_max: 2048, partitions: 2, executions: all}
"""
COUNT = 100


def made(folder: Path, *options: str) -> Ground:
    ground = Ground(folder, COUNT, options=options)
    (folder / "workflow.yaml").write_text(WORKFLOW)
    (folder / "number.avsc").write_text(NUMBER)
    asyncio.run(
        with_log(ground.log, lambda log: send(log, "in.numbers", [{"n": n} for n in range(COUNT)], partitions=2))
    )
    return ground


def check(ground: Ground) -> bool:
    """Whether everything is through; that the slots held so far in any case."""
    topology = compiled(WORKFLOW, ground.folder)

    async def read(log: EmbeddedLog) -> bool:
        seen = await under_way(log, "numbers.executions", "numbers.gate.go.repartition")
        assert seen.most <= 3
        if len(seen.begun) < COUNT or seen.open:
            return False
        assert sorted(row["n"] for row in await values(log, "out")) == list(range(COUNT))
        store = MemoryStore()
        await restore(store, log, TopicPartition("numbers.gate.slots.changelog", 0))
        assert [name for name, _ in store.scan()] == [b"#"], "a slot leaked, or somebody waits"
        report = await audited(log, topology)
        assert report.ok, report.text()
        return True

    return ground.on_log(read)


@pytest.mark.parametrize("state", ["memory", "rocksdb"])
def test_kills_while_executions_wait_for_slots(state: str, tmp_path: Path) -> None:
    options = ("--state", "rocksdb", "--state-dir", "state") if state == "rocksdb" else ()
    ground = made(tmp_path, *options)
    for nth, point in enumerate(("after-outputs", "torn-frame", "after-frame", "before-store") * 2):
        assert ground.crash(f"{point}:{8 + 2 * nth}"), f"{point} was not passed so often"
        check(ground)
    for _ in range(5):  # what waits a moment goes on in the next run
        ground.finish()
        if check(ground):
            return
    raise AssertionError("not everything came through")
