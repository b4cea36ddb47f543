"""What is true of every built-in kind: its example builds, its page is up to date, its parameters are documented."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from streamflow.nodes import KINDS, PARTS, builtin, parts, registry
from streamflow.nodes.document import pages
from streamflow.nodes.no_op import NoOp
from streamflow.sdk.errors import UsageError
from streamflow.sdk.node import Node, parameters
from streamflow.sdk.params import RawParams, build, to_json
from streamflow.sdk.registry import NodeRegistry

DOCS = Path(__file__).parents[3] / "docs" / "nodes"


@pytest.mark.parametrize("kind", builtin(), ids=lambda k: k.spec.kind)
def test_the_example_of_a_kind_builds_and_survives_json(kind: type[Node]) -> None:
    ((_, written),) = YAML(typ="safe").load(kind.spec.example).items()
    assert written.pop("type") == kind.spec.kind
    node, findings = build(kind, RawParams(values=written))
    assert node is not None, findings
    again, findings = build(kind, RawParams(values=to_json(node)))
    assert again == node, findings


@pytest.mark.parametrize("kind", builtin(), ids=lambda k: k.spec.kind)
def test_every_parameter_and_kind_is_documented(kind: type[Node]) -> None:
    assert (kind.__doc__ or "").strip()
    for field in parameters(kind):
        assert field.metadata["param"].help.endswith((".", "?")), field.name


def test_kinds_are_registered_under_their_names() -> None:
    assert [kind.spec.kind for kind in builtin()] == list(KINDS)
    assert [kind.spec.kind for kind in parts()] == list(PARTS)
    assert set(registry().names) == set(registry().kinds) >= set(KINDS)


def test_a_kind_is_imported_when_it_is_asked_for() -> None:
    code = """
import sys
from streamflow.nodes import registry
kinds = registry()
assert "window" in kinds.names and "streamflow.nodes.window" not in sys.modules
assert kinds.get("window").spec.kind == "window" and kinds.planned("gather.send") is not None
assert kinds.get("gather.send") is None and kinds.planned("nothing") is None
assert "streamflow.nodes.pattern" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plug_in_may_not_take_the_name_of_a_built_in_kind() -> None:
    class Mine(NoOp):
        spec = dataclasses.replace(NoOp.spec, kind="window")

    with pytest.raises(UsageError, match=r"is defined by both streamflow\.nodes\.window and"):
        NodeRegistry([Mine], named={"window": "streamflow.nodes.window:Window"})


def test_the_reference_in_docs_is_what_the_classes_say() -> None:
    """Mend: python -m streamflow.nodes.document docs/nodes"""
    assert {p.name: p.read_text(encoding="utf-8") for p in DOCS.glob("*.md")} == pages()
