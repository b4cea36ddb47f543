"""An error workflow: what failed in one workflow starts executions of another, each once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from streamflow.compiler import compile_document
from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.workflow.load import load_text
from tests.simulation.running import compiled, run, send, values, with_log

FAILING = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json}
  each: {type: set, fields: {each: 12 // long(n)}, retry: {attempts: 3}}
  out: {type: publish, topic: out, format: json}
connections: [start -> each -> out]
"""
ERRORS = """
workflow: watcher
nodes:
  failed: {type: error-trigger, workflow: parts}
  first: {type: filter, when: node == "each" and attempt == 3}
  told:
    type: set
    keep: [workflow, node, code, attempt, execution, topic, offset]
    fields: {text: 'node + " of " + workflow + ": " + message'}
  alerts: {type: publish, topic: alerts, format: json}
connections: [failed -> first -> told -> alerts]
"""


def test_what_fails_in_one_workflow_starts_another_once(tmp_path: Path) -> None:
    """Method: the watcher runs before anything failed, then behind it, then once more."""
    failing, watcher = compiled(FAILING, tmp_path), compiled(ERRORS, tmp_path)

    async def work(log: EmbeddedLog) -> list[Any]:
        await run(watcher, log)
        await send(log, "in", [{"n": n} for n in (1, 0, 2, 0)])
        await run(failing, log)
        await run(watcher, log)
        await run(watcher, log)
        assert (await log.topics())["parts.dead-letter"].partitions == 1
        return await values(log, "alerts")

    alerts = asyncio.run(with_log(tmp_path / "log", work))
    assert [(a["node"], a["code"], a["attempt"], a["topic"], a["offset"]) for a in alerts] == [
        ("each", "division_by_zero", 3, "in", offset) for offset in (1, 3)
    ]
    assert alerts[0]["execution"] is None or alerts[0]["execution"].startswith("in#")
    assert alerts[0]["text"].startswith("each of parts: fields.each (12 // long(n)): division by zero")


def test_a_workflow_cannot_read_its_own_dead_letters() -> None:
    document, _ = load_text(ERRORS.replace("workflow: parts", "workflow: watcher"))
    assert document is not None
    topology, findings = compile_document(document, registry())
    assert topology is None
    assert [f.code for f in findings if f.severity == "error"] == ["SF230"]
