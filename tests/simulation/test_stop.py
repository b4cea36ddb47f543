"""Policy `stop` commits exactly the rows before the first failing row, then halts and says where. DESIGN 12, point
11.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from tests.simulation.running import compiled, run, send, values, with_log

WORKFLOW = """\
workflow: careful
nodes:
  numbers: {type: event, topic: in, format: json}
  checked: {type: set, fields: {share: 100 // n}, on_error: stop}
  pairs: {type: batch, size: 2, scope: stream}
  apart: {type: split, field: items}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> checked -> pairs -> apart -> out
policies: {commit_interval: 1s, step_bytes_max: %d}
"""


@pytest.mark.parametrize("step_bytes", [4096, 1 << 20])
@pytest.mark.parametrize("failing", [0, 1, 137, 400, 999])
def test_stop_commits_the_rows_before_the_first_failure(failing: int, step_bytes: int, tmp_path: Path) -> None:
    """Method: one zero among 1,000 numbers; whatever the steps, the rows before it are out, and nothing behind it."""
    topology = compiled(WORKFLOW % step_bytes, tmp_path)
    numbers = [{"n": 0 if i == failing else i + 1} for i in range(1_000)]

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", numbers, batch=10)
        report = await run(topology, log)
        assert report.halted is not None
        text = str(report.halted)
        for part in ("checked", "division_by_zero", f"offset {failing}"):
            assert part in text
        whole_pairs = failing // 2 * 2
        assert [v["items"]["n"] for v in await values(log, "out")] == [n["n"] for n in numbers[:whole_pairs]]
        committed = (await log.groups()).get("careful.numbers", {})
        assert [c.offset for c in committed.values()] == ([failing] if failing else [])
        # Started again, it halts at the same place and adds nothing.
        again = await run(topology, log)
        assert again.halted is not None
        assert len(await values(log, "out")) == whole_pairs

    asyncio.run(with_log(tmp_path / "log", once))
