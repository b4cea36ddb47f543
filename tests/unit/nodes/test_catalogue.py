"""What is true of every built-in kind: its example builds, its page is up to date, its parameters are documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from streamflow.nodes import BUILTIN, registry
from streamflow.nodes.document import pages
from streamflow.sdk.node import Node, parameters
from streamflow.sdk.params import RawParams, build, to_json

DOCS = Path(__file__).parents[3] / "docs" / "nodes"


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda k: k.spec.kind)
def test_the_example_of_a_kind_builds_and_survives_json(kind: type[Node]) -> None:
    ((_, written),) = YAML(typ="safe").load(kind.spec.example).items()
    assert written.pop("type") == kind.spec.kind
    node, findings = build(kind, RawParams(values=written))
    assert node is not None, findings
    again, findings = build(kind, RawParams(values=to_json(node)))
    assert again == node, findings


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda k: k.spec.kind)
def test_every_parameter_and_kind_is_documented(kind: type[Node]) -> None:
    assert (kind.__doc__ or "").strip()
    for field in parameters(kind):
        assert field.metadata["param"].help.endswith((".", "?")), field.name


def test_kinds_are_registered_once() -> None:
    assert len(registry().kinds) >= len(BUILTIN) == len({k.spec.kind for k in BUILTIN})


def test_the_reference_in_docs_is_what_the_classes_say() -> None:
    """Mend: python -m streamflow.nodes.document docs/nodes"""
    assert {p.name: p.read_text(encoding="utf-8") for p in DOCS.glob("*.md")} == pages()
