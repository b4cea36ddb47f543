"""The JSON Schema of workflow documents, made from the node classes: editors complete and check with it.

`python -m streamflow.workflow.jsonschema --write` makes `schemas/workflow.schema.json`, `--check` says whether it is
stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from streamflow.sdk.node import Node
from streamflow.sdk.param_schema import json_schema
from streamflow.sdk.registry import NodeRegistry
from streamflow.workflow.error_forms import OnErrorForm
from streamflow.workflow.forms import HeaderForm, NodeForm
from streamflow.workflow.ids import ID_PATTERN

FILE = Path("schemas") / "workflow.schema.json"
_ID = f"^{ID_PATTERN}$"
_NODE_SPELLING = r"(?:[^\s,\[\]-]|-(?!>))+"
_GROUP = rf"(?:{_NODE_SPELLING}|\[\s*{_NODE_SPELLING}(?:\s*,\s*{_NODE_SPELLING})*\s*\])"
_ARROW = rf"^\s*{_GROUP}(?:\s*->\s*{_GROUP})+\s*$"


def generate(registry: NodeRegistry) -> dict[str, object]:
    """Schema of whole documents that use the kinds of `registry`."""
    header: Any = json_schema(HeaderForm)
    properties = header["properties"]
    properties["workflow"]["pattern"] = _ID
    properties["version"] = properties["version"] | {"type": ["string", "number"]}
    nodes = {"$ref": "#/$defs/node"}
    properties["nodes"] = {
        "description": "The nodes by id.",
        "anyOf": [
            {"type": "object", "propertyNames": {"pattern": _ID}, "additionalProperties": nodes, "minProperties": 1},
            {"type": "array", "items": {"allOf": [nodes, {"required": ["id"]}]}, "minItems": 1},
        ],
    }
    properties["connections"] = {
        "description": "How items flow: `a.port -> b -> [c, d]`, or mappings with `from` and `to`.",
        "type": ["array", "null"],
        "items": {"anyOf": [{"type": "string", "pattern": _ARROW}, {"$ref": "#/$defs/connection"}]},
    }
    properties["tests"] = {
        "description": "Test cases.",
        "type": ["array", "null"],
        "items": {"$ref": "#/$defs/test"},
    }
    kinds = registry.kinds
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamflow workflow",
        **header,
        "required": ["workflow", "nodes"],
        "additionalProperties": False,
        "$defs": {
            "node": _any_node(list(kinds)),
            "connection": _connection(),
            "test": _test(),
            **{f"node_{name}": _node(kind) for name, kind in kinds.items()},
            **{f"every_{name}": schema for name, schema in _common().items()},
        },
    }


def _any_node(kinds: list[str]) -> dict[str, object]:
    """A node: its `type` says which parameters it has."""
    choices = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/node_{kind}"},
        }
        for kind in kinds
    ]
    return {
        "type": "object",
        "properties": {"type": {"description": "Kind of the node.", "enum": kinds}},
        "required": ["type"],
        "allOf": choices,
    }


def _node(kind: type[Node]) -> dict[str, object]:
    params: Any = json_schema(kind)
    doc = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    own = params["properties"]
    inside = {
        "description": "Parameters; they may also stand beside `type`.",
        "type": ["object", "null"],
        "properties": own,
        "additionalProperties": False,
    }
    properties = {
        "id": {"description": "Id of the node, where nodes are a list.", "type": "string", "pattern": _ID},
        "type": {"description": doc, "const": kind.spec.kind},
        **own,
        **{name: {"$ref": f"#/$defs/every_{name}"} for name in _common()},
        "parameters": inside,
    }
    made: dict[str, object] = {
        "title": kind.spec.kind,
        "description": doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    rules = [{"required": [name]} for name in params.get("required", [])] + params.get("allOf", [])
    if rules:  # a required parameter stands beside `type` or under `parameters`
        made["allOf"] = [
            {"anyOf": [rule, {"required": ["parameters"], "properties": {"parameters": rule}}]} for rule in rules
        ]
    return made


def _common() -> dict[str, Any]:
    """What every node may say."""
    form: Any = json_schema(NodeForm)
    properties = {**form["properties"], "on_error": _on_error()}
    properties["position"] = properties["position"] | {"type": "array", "minItems": 2, "maxItems": 2}
    return properties


def _on_error() -> dict[str, object]:
    form: Any = json_schema(OnErrorForm)
    value = {
        "type": "object",
        "properties": {"value": {"description": "Fields of the item that leaves instead.", "type": "object"}},
        "required": ["value"],
        "additionalProperties": False,
    }
    instead = {"description": form["properties"]["fallback"]["description"], "anyOf": [{"type": "string"}, value]}
    fallback = {
        "type": "object",
        "properties": {**form["properties"], "fallback": instead},
        "required": ["fallback"],
        "additionalProperties": False,
    }
    return {
        "description": "What happens to an item that fails here. Left out: it goes to the error port if that is "
        "connected, else where the workflow's policies say.",
        "anyOf": [{"enum": ["stop", "continue", "pass", "dead_letter", "error_port", "compensate"]}, fallback],
    }


def _connection() -> dict[str, object]:
    ends = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    port = {"type": ["string", "boolean", "integer"]}
    return {
        "type": "object",
        "properties": {
            "from": {"description": "Node (or node.port) that items leave.", **ends},
            "port": {"description": "Output port.", **port},
            "to": {"description": "Node (or node.port) that they enter.", **ends},
            "input": {"description": "Input port.", **port},
            "type": {"description": "What flows.", "enum": ["main", "error", "conditional", "loop"], "default": "main"},
            "index": {"description": "Number of the output port, from 0.", "type": "integer", "minimum": 0},
            "condition": {"description": "Only items for which it is true flow.", "type": ["string", "boolean"]},
            "label": {"description": "Text beside the arrow.", "type": "string"},
            "metadata": {"description": "What tools keep here.", "type": "object"},
        },
        "required": ["from", "to"],
        "additionalProperties": False,
    }


def _test() -> dict[str, object]:
    items = {"type": "object", "additionalProperties": {"type": "array"}}
    stopped = {"description": "The workflow stops, by policy.", "enum": [True, []]}
    return {
        "type": "object",
        "properties": {
            "name": {"description": "What the case shows.", "type": "string"},
            "input": {"description": "Items by trigger.", **items},
            "expect": {
                "description": "Items expected, by node or node.port.",
                **items,
                "properties": {"stopped": stopped},
            },
        },
        "required": ["expect"],
        "additionalProperties": False,
    }


def text() -> str:
    """The schema of the built-in kinds, as the file has it."""
    from streamflow.nodes import builtin

    return json.dumps(generate(NodeRegistry(builtin())), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """0 if written or up to date, 1 if stale, 2 for a wrong call."""
    if arguments == ["--write"]:
        FILE.write_text(text(), encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        if FILE.is_file() and FILE.read_text(encoding="utf-8") == text():
            return 0
        sys.stderr.write(f"{FILE} is stale: run `python -m streamflow.workflow.jsonschema --write`.\n")
        return 1
    sys.stderr.write("usage: python -m streamflow.workflow.jsonschema --write|--check\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
