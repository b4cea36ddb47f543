"""Positions of a task's inputs are committed together, those of silent inputs too: else they would expire alone."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamflow.logs import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import Producer
from streamflow.testing.log_steps import opened
from tests.simulation.running import compiled, run, send

WORKFLOW = """
workflow: two
nodes:
  a: {type: event, topic: in.a, format: json}
  b: {type: event, topic: in.b, format: json}
  all: {type: merge, mode: append}
  out: {type: publish, topic: out, format: json}
connections:
  - a -> all
  - b -> all
  - all -> out
"""
A, B = TopicPartition("in.a", 0), TopicPartition("in.b", 0)


class Noting(EmbeddedLog):
    """Keeps which positions each commit of a group held."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.noted: list[set[TopicPartition]] = []

    async def producer(self, transactional_id: str) -> Any:
        return _NotingProducer(await super().producer(transactional_id), self.noted)


class _NotingProducer:
    def __init__(self, inner: Producer, noted: list[set[TopicPartition]]) -> None:
        self._inner, self._noted = inner, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        self._noted.append(set(offsets))
        await self._inner.send_offsets(group, offsets)


def test_each_commit_has_the_positions_of_all_inputs(log_folder: Path) -> None:
    async def scenario() -> None:
        log, topology = Noting(log_folder), compiled(WORKFLOW)
        async with opened(log):
            for topic, items in (("in.a", [1]), ("in.b", [2, 3])):
                await send(log, topic, [{"n": n} for n in items])
            await run(topology, log)
            for n in range(4, 8):  # B is silent from here on
                await send(log, "in.a", [{"n": n}])
                await run(topology, log)
            assert len(log.noted) >= 5
            assert all(noted == {A, B} for noted in log.noted)

    asyncio.run(scenario())
