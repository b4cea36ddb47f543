"""docs/expressions.md says what the code does."""

from pathlib import Path

from streamflow.expressions.document import render


def test_the_document_is_current() -> None:
    written = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text(encoding="utf-8")
    assert written == render(), "run `python -m streamflow.expressions.document > docs/expressions.md`"
