"""An error workflow by policy: what nothing took and, where asked for, what a policy handled, each once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streamflow.compiler import compile_document
from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.workflow.load import load_text
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import NODES, Bench, benched, replays

FAILING = """
workflow: parts
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc, on_error: continue}
  ended: {type: set, fields: {each: 12 // (n % 2)}, on_error: continue}
  taken: {type: set, fields: {each: 12 // (n % 3)}}
  instead: {type: set, fields: {each: 12 // (n % 5)}, on_error: {fallback: {value: {each: 0}}}}
  last: {type: set, fields: {each: 12 // (n % 7)}}
  out: {type: publish, topic: out, format: json}
  apart: {type: publish, topic: apart, format: json}
connections: [start -> ended -> taken -> instead -> last -> out, taken.error -> apart]
policies: {error_workflow: {file: watcher.yaml, also: [continue, error_port, pass]}}
"""
WATCHER = """
workflow: watcher
nodes:
  failed: {type: error-trigger, workflow: parts}
  handled: {type: error-trigger, workflow: parts, reads: handled}
  told: {type: set, keep: [node, code, offset], fields: {n: 'value'}}
  alerts: {type: publish, topic: alerts, format: json}
connections: [failed -> told, handled -> told -> alerts]
"""
SCHEMA = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}'


def expected(count: int) -> set[tuple[str, int]]:
    """(node, offset) of each error of items 0, 1, …; the last record is none."""
    found = {("start", count)}
    for n in range(count):
        for node, by in (("ended", 2), ("taken", 3), ("instead", 5), ("last", 7)):
            if n % by == 0:
                found.add((node, n))
                if node != "instead":
                    break
    return found


@pytest.mark.parametrize("seed", range(4))
def test_errors_that_are_handled_are_told_once_whatever_fails(seed: int, tmp_path: Path) -> None:
    """Method: items that fail all over, a record that is none, a log that fails (not for seed 0); then the watcher."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    failing, watcher = compiled(FAILING, tmp_path), compiled(WATCHER, tmp_path)
    count = 60

    async def work(log: EmbeddedLog) -> list[Any]:
        await send(log, "in", [*({"n": n} for n in range(count)), {"m": 1}])
        if seed:
            await persist(failing, FaultyLog(log, seeded_faults(seed, count=1 + seed, nth_max=30)), may_stop=True)
        await run(failing, log)
        await run(watcher, log)
        await run(watcher, log)
        report = await audited(log, failing)
        assert report.ok, report.text()
        letters = (await contents(log, "parts.dead-letter"))[0]
        assert len(letters) == len([1 for node, _ in expected(count) if node == "last"])
        return await values(log, "alerts")

    alerts = asyncio.run(with_log(tmp_path / "log", work))
    assert sorted((a["node"], a["offset"]) for a in alerts) == sorted(expected(count))
    assert {a["code"] for a in alerts if a["node"] != "start"} == {"division_by_zero"}


def test_a_replay_tells_the_same(tmp_path: Path) -> None:
    (tmp_path / "n.avsc").write_text(SCHEMA)
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    topology = compiled(FAILING, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        await send(bench.log, "in", [{"n": n} for n in range(30)])
        await bench.start("start", 0)
        await bench.work("start", 0)
        await replays(topology, bench.log, tmp_path)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        assert await contents(again, "parts.errors") == await contents(bench.log, "parts.errors")
        await again.close()

    benched(tmp_path, topology, work)


@pytest.mark.parametrize(
    ("named", "watcher", "said"),
    [
        ("nowhere.yaml", None, "there is no file 'nowhere.yaml'"),
        ("../watcher.yaml", None, "does not stand in the folder"),
        ("/etc/watcher.yaml", None, "does not stand in the folder"),
        ("link/watcher.yaml", None, "leads out of the folder"),
        ("watcher", WATCHER, ""),
        ("watcher.yaml", WATCHER, ""),
        ("watcher.yaml", WATCHER.replace("workflow: parts", "workflow: other"), "has no trigger for this one"),
        ("watcher.yaml", WATCHER.replace(", reads: handled", ""), "nothing in 'watcher.yaml' reads the errors"),
        ("watcher.yaml", "nodes: 3", "cannot be read"),
    ],
)
def test_the_error_workflow_must_hear_of_the_errors(named: str, watcher: str | None, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "watcher.yaml").write_text(WATCHER)
    (folder / "link").symlink_to(tmp_path)
    (folder / "n.avsc").write_text(SCHEMA)
    if watcher is not None:
        (folder / "watcher.yaml").write_text(watcher)
    document, _ = load_text(FAILING.replace("watcher.yaml", named), base_folder=str(folder))
    assert document is not None
    topology, findings = compile_document(document, registry())
    errors = [f for f in findings if f.severity == "error"]
    assert [f.code for f in errors] == (["SF262"] if said else [])
    assert all(said in f.message and f.mend and f.place.line == 12 for f in errors), [str(f) for f in errors]
    assert (topology is None) == bool(said)
