"""Records that were deleted before a task read them are not passed over in silence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.topics import TopicMismatch
from streamflow.sdk.errors import OffsetOutOfRange
from streamflow.sdk.log import TopicSpec
from tests.simulation.running import compiled, run, send, values, with_log

WORKFLOW = """\
workflow: slow
nodes:
  numbers: {type: event, topic: in, format: json}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> out
"""


def test_a_gap_between_position_and_log_start_is_an_error(tmp_path: Path) -> None:
    topology = compiled(WORKFLOW, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": i} for i in range(50)], batch=10)
        await run(topology, log)
        await send(log, "in", [{"n": i} for i in range(50, 100)], batch=10)
        await log.delete_records(TopicPartition("in", 0), 80)
        with pytest.raises(OffsetOutOfRange, match="holds offsets 80 to 100, and this workflow stands at 50"):
            await run(topology, log)
        assert len(await values(log, "out")) == 50

    asyncio.run(with_log(tmp_path / "log", once))


def test_positions_that_expired_are_an_error_not_a_beginning(tmp_path: Path) -> None:
    """Method: forget a group's positions, as a broker does after its time, and run again."""
    topology = compiled(WORKFLOW, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": i} for i in range(50)], batch=10)
        await run(topology, log)
        await log.set_offsets("slow.numbers", {TopicPartition("in", 0): None})
        with pytest.raises(OffsetOutOfRange, match=r"has committed before.*has no positions of it"):
            await run(topology, log)
        assert len(await values(log, "out")) == 50

    asyncio.run(with_log(tmp_path / "log", once))


def test_positions_are_committed_again_before_they_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: an idle worker whose time to commit again is always over; its positions stay what they were."""
    monkeypatch.setattr("streamflow.runtime.task._REFRESH_S", 0.0)
    topology = compiled(WORKFLOW, tmp_path)
    at = TopicPartition("in", 0)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": i} for i in range(50)], batch=10)
        await run(topology, log)
        before = await log.committed("slow.numbers", [at])
        await run(topology, log)
        assert await log.committed("slow.numbers", [at]) == before
        assert before[at].offset == 50
        assert len(await values(log, "out")) == 50

    asyncio.run(with_log(tmp_path / "log", once))


def test_a_topic_of_ours_with_other_settings_is_refused(tmp_path: Path) -> None:
    topology = compiled(WORKFLOW, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": 1}])
        await log.create_topic(TopicSpec(name="slow.numbers.journal", config={"cleanup.policy": "compact"}))
        with pytest.raises(TopicMismatch, match=r"cleanup\.policy is 'compact', must be 'delete'"):
            await run(topology, log)

    asyncio.run(with_log(tmp_path / "log", once))
