"""Exactly once under SIGKILL with items that wait, for a time and for signals: in memory, and with state on disk.

Method: numbered items wait a moment by the clock, and then for signals that are on the topic already or come later. The
process is killed at each named step of a commit; then it runs to the end, and what came out is compared.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.signals import Signal, signals_topic, write_signals
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from tests.simulation.killing import NUMBER, Ground
from tests.simulation.on_disk import behind
from tests.simulation.running import compiled, send, values, with_log

WORKFLOW = """\
workflow: numbers
nodes:
  numbers: {type: event, topic: in.numbers, format: json, schema: number.avsc}
  moment: {type: wait, for: n % 3}
  told: {type: wait, signal: go, key: string(n)}
  out: {type: publish, topic: out, format: json}
connections: [numbers -> moment -> told -> out]
policies: {commit_interval: 1ms, step_bytes_max: 8192, partitions: 2}
"""
COUNT = 1_500


def made(folder: Path, *options: str) -> Ground:
    ground = Ground(folder, COUNT, options=options)
    (folder / "workflow.yaml").write_text(WORKFLOW)
    (folder / "number.avsc").write_text(NUMBER)
    asyncio.run(
        with_log(ground.log, lambda log: send(log, "in.numbers", [{"n": n} for n in range(COUNT)], partitions=2))
    )
    tell(ground, range(0, COUNT, 2))
    return ground


def tell(ground: Ground, numbers: range) -> None:
    topology = compiled(WORKFLOW, ground.folder)

    async def write(log: EmbeddedLog) -> None:
        topic = await signals_topic(topology, log)
        producer = await log.producer("tell")
        for first in range(0, len(numbers), 100):
            told = [Signal(name="go", key=str(n), payload=str(n)) for n in numbers[first : first + 100]]
            await write_signals(log, producer, topic, told, now_ms=1_000)
        await producer.close()

    ground.on_log(write)


def check(ground: Ground) -> None:
    """Each item came out once, with its own signal, and nothing waits any more."""

    async def read(log: EmbeddedLog) -> None:
        found = [(row["n"], row["signal"]) for row in await values(log, "out")]
        doubled = [n for (n, _), times in Counter(found).items() if times > 1]
        assert not doubled, doubled[:5]
        assert sorted(found) == [(n, n) for n in range(COUNT)]
        for node in ("moment", "told"):
            for p in range(2):
                store = MemoryStore()
                await restore(store, log, TopicPartition(f"numbers.{node}.waiting.changelog", p))
                assert [key for key, _ in store.scan() if key != b"#"] == []

    ground.on_log(read)


def finish(ground: Ground) -> None:
    """Until the inputs end; what waited for the clock then goes on in another run."""
    ground.finish()
    tell(ground, range(1, COUNT, 2))
    ground.finish()
    ground.finish()


@pytest.mark.parametrize("point", ["after-outputs", "torn-frame", "after-frame", "before-store"])
def test_kills_while_items_wait(point: str, tmp_path: Path) -> None:
    ground = made(tmp_path)
    assert ground.crash(f"{point}:9"), f"{point} was not passed so often"
    finish(ground)
    check(ground)


def test_kills_with_state_on_disk(tmp_path: Path) -> None:
    """What the database holds is what the changelog says up to where it stands; memory of what is due is made anew."""
    ground = made(tmp_path, "--state", "rocksdb", "--state-dir", "state")
    for point in ("after-frame:9", "before-store:12"):
        assert ground.crash(point), point

    async def compare(log: EmbeddedLog) -> None:
        for stage, node in (("numbers", "moment"), ("told.in", "told")):
            for p in range(2):
                changelog = TopicPartition(f"numbers.{node}.waiting.changelog", p)
                if changelog.topic in await log.topics():
                    await behind(log, tmp_path / "state" / "numbers" / stage / str(p), [changelog])

    ground.on_log(compare)
    finish(ground)
    ground.on_log(compare)
    check(ground)
