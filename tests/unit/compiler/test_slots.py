"""Slots in the plan: put in by policies, told of the stages behind them, and refused where they could not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.topology.plan import Topology
from streamflow.workflow.dump import to_plain
from streamflow.workflow.load import load_text

SCHEMA = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}'
TEXT = """
workflow: gated
nodes:
  start: {type: event, topic: in, format: json, schema: n.avsc}
  keyed: {type: repartition, key: n}
  out: {type: publish, topic: out, format: json}
connections: [start -> keyed -> out]
policies: {partitions: 3, executions: all, concurrency: {executions: 5, priority: n, aging: 1m}, rate: {executions: 7}}
"""


def compiled(text: str, folder: Path) -> tuple[Topology | None, list[str]]:
    (folder / "n.avsc").write_text(SCHEMA)
    document, findings = load_text(text, base_folder=str(folder))
    assert document is not None, findings
    topology, found = compile_document(document, registry())
    return topology, [f"{f.code} {f.message}" for f in (*findings, *found)]


def test_policies_put_slots_behind_the_trigger(tmp_path: Path) -> None:
    topology, findings = compiled(TEXT, tmp_path)
    assert topology is not None, findings
    stage = topology.stage("start.slots.queue")
    assert [(i.node, i.topic, i.aside) for i in stage.inputs] == [
        ("start.slots.queue", "gated.start.slots.queue.repartition", False),
        ("start.slots.read", "gated.executions", True),
    ]
    hold = next(n for n in stage.nodes if n.id == "start.slots")
    assert (hold.kind, hold.params["executions"], hold.params["behind"]) == (
        "slots.hold", 5, ["start.slots.go", "keyed"],
    )  # fmt: skip
    partitions = {t.name: t.partitions for t in topology.topics}
    assert partitions["gated.executions"] == partitions["gated.start.slots.queue.repartition"] == 1
    assert partitions["gated.start.slots.go.repartition"] == 3


def test_a_rate_alone_needs_no_records(tmp_path: Path) -> None:
    text = TEXT.replace("executions: all, concurrency: {executions: 5, priority: n, aging: 1m}, ", "")
    topology, findings = compiled(text, tmp_path)
    assert topology is not None, findings
    assert not any(i.aside for stage in topology.stages for i in stage.inputs)


def test_policies_are_written_as_they_are_read(tmp_path: Path) -> None:
    document, _ = load_text(TEXT, base_folder=str(tmp_path))
    assert document is not None
    policies = to_plain(document)["policies"]
    assert isinstance(policies, dict)
    assert policies["concurrency"] == {"executions": 5, "priority": "n", "aging_ms": 60_000}
    assert policies["rate"]["executions"] == 7


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("executions: all, ", "executions: errors, ", "SF264 policy `concurrency` has to know"),
        ("priority: n", "priority: string(n)", "SF252"),
        ("executions: 5, priority: n, ", "executions: 5, ", "SF250"),
        ("{type: event, topic: in, format: json, schema: n.avsc}", "{type: manual, items: [{n: 1}]}", "SF264"),
        ("connections: [start", "connections: [second -> out, start", "SF264 policies `concurrency`"),
    ],
)
def test_what_is_refused(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = TEXT.replace(old, new)
    if "second" in new:
        text = text.replace("  keyed:", "  second: {type: event, topic: other, format: json, schema: n.avsc}\n  keyed:")
    topology, findings = compiled(text, tmp_path)
    assert topology is None
    assert any(found.startswith(told) for found in findings), findings
