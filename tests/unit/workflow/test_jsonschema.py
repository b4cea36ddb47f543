"""The JSON Schema of documents: valid, up to date, and of one mind with the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streamflow.nodes import builtin
from streamflow.sdk.registry import NodeRegistry
from streamflow.workflow import load_text
from streamflow.workflow.dump import to_plain
from streamflow.workflow.jsonschema import FILE, generate, text
from streamflow.workflow.tree import parse, plain

from .kinds import REGISTRY
from .test_builder import big_orders

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "diagnostics"
# What a schema cannot know: graphs, ids that are used twice, expressions, schemas on wires.
KNOWABLE = {"06", "07", "08", "10", "11", "12", "13", "14", "18", "23", "24"}


def validator(registry: NodeRegistry) -> Any:
    schema = generate(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


BUILTINS = validator(NodeRegistry(builtin()))
SMALL = validator(REGISTRY)


def data(text: str) -> object:
    tree, _ = parse(text, "f")
    return None if tree is None else plain(tree)


def test_the_file_is_up_to_date() -> None:
    assert (ROOT / FILE).read_text(encoding="utf-8") == text(), "run python -m streamflow.workflow.jsonschema --write"


@pytest.mark.parametrize("file", sorted(ROOT.glob("topologies/*/workflow.yaml")), ids=lambda f: f.parent.name)
def test_the_examples_are_valid(file: Path) -> None:
    BUILTINS.validate(data(file.read_text(encoding="utf-8")))


def test_what_the_builder_writes_is_valid() -> None:
    SMALL.validate(to_plain(big_orders().document()))


@pytest.mark.parametrize("number", sorted(KNOWABLE))
def test_what_a_schema_can_know_it_refuses(number: str) -> None:
    (file,) = GOLDEN.glob(f"{number}-*.yaml")
    assert not BUILTINS.is_valid(data(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "{workflow: w, nodes: {a: {type: event, topic: t, key: 5}}, connections: ['a -> b.x -> [c, d]']}",
        "{workflow: w, nodes: {a: {type: join, within: 5s}, b: {type: join, within_ms: 5s}}}",
        "{workflow: w, nodes: {a: {type: set, parameters: {fields: {x: 1}}}}, connections: [{from: a, to: b}]}",
        "{workflow: w, nodes: [{id: a, type: everything, mode: true, names: x, data: [1]}], version: 1.2}",
        "{workflow: w, nodes: {a: {type: event, topic: t}}, tests: [{expect: {stopped: true}}], vars: {x: null}}",
    ],
)
def test_what_loads_is_valid(text: str) -> None:
    assert load_text(text)[1] == []
    SMALL.validate(data(text))


@pytest.mark.parametrize("kind", builtin(), ids=lambda k: k.spec.kind)
def test_parameters_do_not_hide_what_every_node_may_say(kind: Any) -> None:
    """A kind whose parameter is called `name` or `retry` could not be given it beside `type`."""
    from streamflow.sdk.params import param_types
    from streamflow.workflow.document import NODE_KEYS

    assert not set(param_types(kind)) & set(NODE_KEYS)


@pytest.mark.parametrize("kind", [k for k in builtin() if k.spec.example], ids=lambda k: k.spec.kind)
def test_the_examples_of_node_kinds_load(kind: Any) -> None:
    tree, found = parse(kind.spec.example, "example")
    assert found == []
    assert tree is not None
    BUILTINS.validate({"workflow": "w", "nodes": plain(tree)})
