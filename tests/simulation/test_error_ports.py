"""Error ports of nodes whose items are bytes: records with the bytes and their error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, values, with_log

WORKFLOW = """
workflow: raw
nodes:
  start: {type: event, topic: in, format: bytes}
  odd: {type: filter, when: "10 // long(length(item)) > 1", POLICY}
  out: {type: publish, topic: out, format: bytes}
  told: {type: set, keep: [error], fields: {code: error.code, was: length(item.item)}}
  failed: {type: publish, topic: failed, format: json}
connections: [start -> odd -> out, odd.error -> told -> failed]
"""


@pytest.mark.parametrize("policy", ["notes: none", "retry: {attempts: 2, when: error.attempt < 2}"])
def test_bytes_that_fail_leave_as_records_with_their_error(policy: str, tmp_path: Path) -> None:
    topology = compiled(WORKFLOW.replace("POLICY", policy), tmp_path)

    async def work(log: EmbeddedLog) -> tuple[list[Any], int]:
        await send(log, "in", [b"", b"abc", b"long enough to go"])
        await run(topology, log)
        report = await audited(log, topology)
        assert report.ok, report.text()
        return await values(log, "failed"), len((await contents(log, "out"))[0])

    failed, out = asyncio.run(with_log(tmp_path / "log", work))
    assert [(f["code"], f["was"], f["error"]["node"]) for f in failed] == [("division_by_zero", 0, "odd")]
    assert out == 1
