"""How findings are shown."""

from __future__ import annotations

from pathlib import Path

from streamflow.expressions import problems
from streamflow.nodes import checks
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.diagnostics import CODES, has_errors, in_order, render, to_json

FOUND = Diagnostic(place=Place("w.yaml", 2, 4), code="SF121", message="unknown 'x'.", mend="Did you mean 'y'?")


def test_a_finding_shows_its_line_and_column() -> None:
    text = render([FOUND], sources={"w.yaml": "a\nbc\td: x\n"})
    assert text == "w.yaml:2:4: error: SF121: unknown 'x'. Did you mean 'y'?\n    bc d: x\n       ^"


def test_colours_only_where_they_are_wanted() -> None:
    assert "\x1b[" in render([FOUND], color=True, sources={})
    assert "\x1b[" not in render([FOUND], color=False, sources={})


def test_control_characters_of_a_document_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in render([FOUND], sources={"w.yaml": "a\n\x1b[31mred\n"})


def test_a_finding_without_source_or_line_is_shown_without_excerpt(tmp_path: Path) -> None:
    gone = Diagnostic(place=Place(str(tmp_path / "gone"), 3, 1), code="SF105", message="m.")
    assert render([gone]).count("\n") == 0
    assert render([Diagnostic(place=Place("x"), code="SF105", message="m.")]) == "x: error: SF105: m."


def test_a_long_line_is_cut_around_its_column() -> None:
    long = Diagnostic(place=Place("w", 1, 5_000), code="SF101", message="m.")
    lines = render([long], sources={"w": "a" * 4_999 + "X" + "b" * 5_000}).split("\n")
    assert len(lines[1]) <= 124
    assert lines[1][len(lines[2]) - 1] == "X"


def test_order_and_json() -> None:
    first = Diagnostic(place=Place("w.yaml", 1, 9), code="SF142", message="m.", severity="warning")
    assert in_order([FOUND, first, FOUND]) == [first, FOUND]
    assert has_errors([FOUND])
    assert not has_errors([first])
    assert to_json([FOUND]) == [
        {
            "file": "w.yaml",
            "line": 2,
            "column": 4,
            "severity": "error",
            "code": "SF121",
            "message": "unknown 'x'.",
            "mend": "Did you mean 'y'?",
        }
    ]


def test_every_code_of_nodes_has_a_rule() -> None:
    used = {v for k, v in vars(checks).items() if k.isupper() and isinstance(v, str) and v.startswith("SF")}
    assert used <= CODES.keys() | problems.CODES.keys()
