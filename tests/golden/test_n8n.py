"""Workflows of n8n and what becomes of them: `n8n/NN-name.json`, the document `NN-name.yaml`, the report `NN-name.txt`.

STREAMFLOW_UPDATE_GOLDEN=1 writes documents and reports anew; then read the difference. Of files whose names end in
`-runs` the test case that pinned data became must pass.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streamflow.cli.import_ import check_text
from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.cases import run_case
from streamflow.workflow.load import load_text
from streamflow.workflow.n8n import Imported, import_export, read_exports

FOLDER = Path(__file__).parent / "n8n"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))


def imported(name: str) -> Imported:
    (export,) = read_exports((FOLDER / f"{name}.json").read_bytes(), name)
    return import_export(export, registry().kinds, check_text)


def golden(file: Path, text: str) -> None:
    if UPDATE:
        file.write_text(text, encoding="utf-8")
    assert text.splitlines() == file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_an_export_becomes_its_document(name: str) -> None:
    made = imported(name)
    assert [f for f in made.findings if f.severity == "error"] == []
    golden(FOLDER / f"{name}.yaml", made.text)
    golden(FOLDER / f"{name}.txt", "\n".join(made.report.lines()) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_an_export_is_lost(name: str) -> None:
    """Every node is a node of the document, a comment, or kept in another one; every connection is told."""
    (export,) = read_exports((FOLDER / f"{name}.json").read_bytes(), name)
    made = imported(name)
    assert [n.place for n in made.report.nodes] == [n.place for n in export.nodes]
    assert [w.place for w in made.report.connections] == [w.place for w in export.wires]
    document, findings = load_text(made.text)
    assert document is not None
    assert not findings
    ids = {entry.id for entry in document.nodes}
    for node in made.report.nodes:
        if node.outcome in ("mapped", "stub", "attached"):
            assert node.id in ids, node
            assert node.outcome != "attached" or json.dumps(node.name, ensure_ascii=False)[1:-1] in made.text
        elif node.outcome == "comment":
            assert f"# {node.name}:" in made.text
        elif node.outcome == "left_out":
            assert f"# {node.id}:" in made.text
    wires = {str(c) for c in document.connections}
    for wire in made.report.connections:
        assert wire.outcome in ("attached", "left_out") or wire.now
        assert set(wire.now) <= wires, wire
        assert wire.why or wire.outcome == "connected"


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("-runs")])
def test_pinned_data_is_what_the_document_gives(name: str) -> None:
    document, _ = load_text(imported(name).text)
    assert document is not None
    topology, _ = compile_document(document, registry())
    assert topology is not None
    (case,) = document.tests
    assert run_case(case, topology, nodes=registry()) == []


def test_there_are_many_exports() -> None:
    assert len(NAMES) >= 25


def test_the_example_is_what_its_export_becomes() -> None:
    folder = Path(__file__).parents[2] / "topologies" / "imported-orders"
    (export,) = read_exports((folder / "export.json").read_bytes(), "export")
    golden(folder / "workflow.yaml", import_export(export, registry().kinds, check_text).text)
