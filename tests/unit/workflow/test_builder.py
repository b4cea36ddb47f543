"""The Python builder: the same document as from YAML, with places in the user's file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamflow
from streamflow.sdk.errors import DocumentError, UsageError
from streamflow.sdk.node import FunctionRef
from streamflow.workflow import Workflow, load, load_text, validate
from streamflow.workflow.dump import to_plain

from .kinds import REGISTRY


def price(item: dict[str, object]) -> dict[str, object]:
    return item


def big_orders() -> Workflow:
    wf = Workflow("big-orders", on_error="stop", vars={"limit": 5}, description="d", commit_interval="1s")
    placed = wf.node("placed", "event", topic="shop.orders", key="customer")
    large = wf.node("large", "if", when="amount * qty > 500", retry={"attempts": 2}, position=[1, 2])
    priced = wf.node("priced", "set", fields={"total": "amount * qty", "one": 1, "yes": True})
    alert = wf.node("alert", "publish", topic="shop.big", name="Alert", disabled=True)
    rest = wf.node("rest", "publish", topic="shop.rest")
    placed >> large
    large["true"] >> priced >> alert
    large["false"] >> rest
    priced.error >> rest
    wf.connect(placed, rest, condition="amount > 1", label="all")
    wf.test("one", input={"placed": [{"amount": 1}]}, expect={"alert": [], "large.false": [{"amount": 1}]})
    return wf


def test_what_is_built_is_what_its_yaml_says() -> None:
    """Method: build, write as YAML, load that, and compare the plain forms."""
    built = big_orders().document()
    loaded, found = load_text(big_orders().to_yaml())
    assert found == []
    assert loaded is not None
    assert to_plain(loaded) == to_plain(built)
    assert validate(built, REGISTRY)[1] == []
    assert validate(loaded, REGISTRY)[0] == validate(built, REGISTRY)[0]
    assert [str(c) for c in built.connections] == [
        "placed -> large",
        "large.true -> priced",
        "priced -> alert",
        "large.false -> rest",
        "priced.error -> rest",
        "placed -> rest",
    ]


def test_fans() -> None:
    wf = Workflow("w")
    a, b, c, d = (wf.node(n, "no-op") for n in "abcd")
    a >> [b, c["left"]] >> d
    [a, b] >> c
    assert [str(x) for x in wf.document().connections] == [
        "a -> b",
        "a -> c.left",
        "b -> d",
        "c -> d",
        "a -> c",
        "b -> c",
    ]


def test_functions_are_kept_by_reference_and_written_by_name() -> None:
    wf = Workflow("w")
    wf.node("a", "event", topic="t") >> wf.function("priced", price) >> wf.frame_function("framed", "m.n:f")
    document = wf.document()
    assert document.functions == {"python:priced": price}
    assert document.nodes[1].params.values == {"function": FunctionRef("python:priced"), "mode": "item"}
    assert validate(document, REGISTRY)[0].keys() == {"a", "priced", "framed"}
    assert "test_builder:price" in wf.to_yaml()
    wf.function("lost", lambda item: item)
    with pytest.raises(UsageError, match="cannot be imported by its name"):
        wf.to_yaml()


def test_places_are_those_of_the_users_calls() -> None:
    wf = Workflow("w")
    line = sys._getframe().f_lineno + 1
    wf.node("a", "event", topik="t")
    (found,) = [f for f in validate(wf.document(), REGISTRY)[1] if f.severity == "error"]
    assert (found.code, found.place.file, found.place.line, found.place.column) == ("SF121", __file__, line, 5)


def test_what_a_call_does_wrong_is_found() -> None:
    wf = Workflow("w", on_error="never")
    wf.node("a", "event", topic="t", retry={"attempts": 0}, on_error="later")
    assert [f.code for f in wf.findings()] == ["SF112", "SF112", "SF112"]
    with pytest.raises(DocumentError, match="'never' is none of stop"):
        wf.document()
    other = Workflow("other")
    with pytest.raises(UsageError, match="belongs to workflow"):
        wf.node("b", "no-op") >> other.node("c", "no-op")
    with pytest.raises(UsageError, match="only nodes can be connected"):
        wf.node("d", "no-op") >> ["e"]  # type: ignore[list-item]


def test_kinds_are_methods() -> None:
    wf = Workflow("w")
    node = wf.event("placed", topic="t")
    wf.if_("large", when="a > 1")
    wf.no_op("nothing")
    assert [n.type for n in wf.document().nodes] == ["event", "if", "no-op"]
    assert node.id == "placed"
    assert {"event", "if_", "no_op", "document"} <= set(dir(wf))
    with pytest.raises(AttributeError, match="Did you mean 'publish'"):
        wf.publsh("x")


FLOW = """
from streamflow import Workflow
import helper_of_flow

workflow = Workflow("from-python")
placed = workflow.node("placed", "event", topic=helper_of_flow.TOPIC)
other = Workflow("other")
"""


def test_a_python_file_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "helper_of_flow.py").write_text("TOPIC = 't'\n")
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    document, found = load(file)
    assert found == []
    assert document is not None
    assert (document.name, document.base_folder, document.nodes[0].place.line) == ("from-python", str(tmp_path), 6)
    document, _ = load(f"{file}:other")
    assert document is not None
    assert document.name == "other"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = (", 1, "'(' was never closed."),
        ("x = 1\n\nraise ValueError('no')", 3, "ValueError: no"),
        ("import sys\nsys.exit(3)", 2, "SystemExit: 3"),
        ("x = 1", 0, "the file defines no Workflow."),
        (
            "from streamflow import Workflow\na = Workflow('a')\nb = Workflow('b')",
            0,
            "the file defines 2 Workflows: a, b.",
        ),
    ],
)
def test_python_files_that_do_not_load(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "flow.py"
    file.write_text(text)
    document, found = load(file)
    assert document is None
    assert [(f.code, f.place.line, f.message) for f in found] == [("SF106", line, message)]


def test_importing_streamflow_loads_nothing_heavy() -> None:
    code = (
        "import streamflow, sys; print('polars' in sys.modules, 'ruamel.yaml' in sys.modules, streamflow.__version__)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(streamflow.__file__).parents[1],
    )
    assert out.stdout.split() == ["False", "False", streamflow.__version__]
    assert streamflow.Workflow is Workflow


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


@given(st.dictionaries(_TEXT, _TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(), max_size=4))
def test_any_constants_survive_yaml(constants: dict[str, object]) -> None:
    wf = Workflow("w", vars=constants)
    wf.node("a", "event", topic="t")
    document, found = load_text(wf.to_yaml())
    assert found == []
    assert document is not None
    assert json.dumps(dict(document.vars), sort_keys=True) == json.dumps(constants, sort_keys=True)
