"""Wrong workflow files and what is said of them, line by line: `diagnostics/NN-name.yaml` and `NN-name.txt`.

Each .txt is what `streamflow check` prints. STREAMFLOW_UPDATE_GOLDEN=1 writes them anew; then read the difference:
every mistake once, at its place, with the nearest right thing, and nothing that only follows from another mistake.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamflow.compiler import compile_document
from streamflow.compiler.codes import CODES as COMPILER_CODES
from streamflow.expressions.problems import CODES as EXPRESSION_CODES
from streamflow.nodes import registry
from streamflow.sdk.places import Diagnostic
from streamflow.workflow.diagnostics import CODES, in_order, render, render_codes
from streamflow.workflow.load import load

FOLDER = Path(__file__).parent / "diagnostics"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
PAGE = Path(__file__).parents[2] / "docs" / "diagnostics.md"
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))


def check(name: str) -> list[Diagnostic]:
    document, findings = load(name)
    if document is not None:
        findings = [*findings, *compile_document(document, registry())[1]]
    return in_order(findings)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_gives_its_findings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    findings = check(name)
    got = render(findings) + "\n"
    golden = FOLDER / name.replace(".yaml", ".txt")
    if UPDATE:
        golden.write_text(got, encoding="utf-8")
    assert got.splitlines() == golden.read_text(encoding="utf-8").splitlines()
    assert findings
    assert {f.code for f in findings} <= {*CODES, *COMPILER_CODES, *EXPRESSION_CODES}
    assert all(f.place.line and f.place.column for f in findings)


def test_there_are_many_wrong_files() -> None:
    assert len(FILES) >= 30


def test_the_reference_page_is_up_to_date() -> None:
    text = render_codes(COMPILER_CODES, EXPRESSION_CODES)
    if UPDATE:
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
