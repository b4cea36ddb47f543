"""Records that were deleted before a task read them are not passed over in silence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import OffsetOutOfRange
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
