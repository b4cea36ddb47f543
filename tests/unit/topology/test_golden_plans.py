"""Every workflow in tests/golden/plans compiles to the plan, text and pictures that lie beside it.

STREAMFLOW_UPDATE_GOLDEN=1 writes them anew; then read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.topology.describe import describe
from streamflow.topology.digest import digest
from streamflow.topology.mermaid import to_mermaid
from streamflow.topology.plan import Topology
from streamflow.topology.serialize import from_json, to_json
from streamflow.topology.svg import to_svg
from streamflow.workflow import load

FOLDER = Path(__file__).parents[2] / "golden" / "plans"
NAMES = sorted(p.stem for p in FOLDER.glob("*.yaml"))
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))
PICTURES = {
    ".txt": describe,
    ".mmd": to_mermaid,
    ".svg": to_svg,
    ".json": lambda t: json.dumps(to_json(t), indent=1, ensure_ascii=False) + "\n",
}


@cache
def plan(name: str) -> Topology:
    document, found = load(FOLDER / f"{name}.yaml")
    assert document is not None, [str(f) for f in found]
    topology, found = compile_document(document, registry())
    assert topology is not None, [str(f) for f in found]
    assert [str(f) for f in found if f.severity == "error"] == []
    return replace(topology, base_folder="")  # differs from machine to machine


@pytest.mark.parametrize("suffix", sorted(PICTURES))
@pytest.mark.parametrize("name", NAMES)
def test_a_plan_looks_as_it_did(name: str, suffix: str) -> None:
    golden, text = FOLDER / f"{name}{suffix}", PICTURES[suffix](plan(name))
    if UPDATE:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_comes_back_from_json_as_it_was(name: str) -> None:
    topology = plan(name)
    back = from_json(json.loads(json.dumps(to_json(topology))))
    assert back == topology
    assert digest(back) == digest(topology)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_well_formed(name: str) -> None:
    root = ET.fromstring(to_svg(plan(name)))
    assert root.tag.endswith("svg")
    words = {"".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {n.id for s in plan(name).stages for n in s.nodes if len(n.id) <= 30} <= words
