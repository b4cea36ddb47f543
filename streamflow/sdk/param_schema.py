"""The JSON Schema of parameters, from the same annotations that `params.build` reads."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Json, ParamSpec, SchemaRef, Template, parameters
from streamflow.sdk.params import (
    DURATION_PATTERN,
    is_form,
    optional,
    param_types,
    plain_value,
    short_name,
    sole_required,
    spec_of,
    unsized,
)


def json_schema(form: type[Any]) -> dict[str, object]:
    """JSON Schema (2020-12) of the parameters of a node kind or form, as a document writes them."""
    properties: dict[str, object] = {}
    required: list[object] = []
    for param_field in parameters(form):
        name, annotation = param_field.name, param_types(form)[param_field.name]
        spec = spec_of(param_field)
        schema = {"description": spec.help} | _schema_of(annotation, spec, name)
        if param_field.default not in (dataclasses.MISSING, None, ()):
            schema["default"] = plain_value(param_field.default)
        properties[name] = schema
        short = short_name(name, annotation)
        if short and short not in param_types(form):
            text = {"pattern": r"\S"} if optional(annotation)[0] is Expression else {"pattern": DURATION_PATTERN}
            properties[short] = {"description": spec.help, "type": "string", **text}
        if param_field.default is dataclasses.MISSING:
            required.append({"anyOf": [{"required": [name]}, {"required": [short]}]} if short else name)
    made: dict[str, object] = {"type": "object", "properties": properties}
    if plain_names := [r for r in required if isinstance(r, str)]:
        made["required"] = plain_names
    if either := [r for r in required if not isinstance(r, str)]:
        made["allOf"] = either
    return made


_EXPRESSION_SCHEMA: dict[str, object] = {"type": ["string", "number", "boolean"], "pattern": r"\S"}


def _schema_of(annotation: Any, spec: ParamSpec, name: str) -> dict[str, object]:
    annotation, nullable = optional(annotation)
    schema = _schema_of_value(annotation, spec, name)
    if not nullable or annotation is Json:
        return schema
    if isinstance(kind := schema.get("type"), str) and "enum" not in schema:
        return schema | {"type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _schema_of_value(annotation: Any, spec: ParamSpec, name: str) -> dict[str, object]:
    origin = typing.get_origin(annotation)
    if annotation is Json:
        return {}
    if annotation is Expression:
        return dict(_EXPRESSION_SCHEMA)
    if annotation is Template:
        return {"type": "string"}
    if annotation is FunctionRef:
        return {"type": "string", "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"}
    if origin is Literal:
        choices = list(typing.get_args(annotation))
        return {"enum": choices + [c == "true" for c in choices if c in ("true", "false")]}
    if origin is tuple:
        inner = _schema_of(typing.get_args(annotation)[0], unsized(spec), name)
        listed: dict[str, object] = {"type": "array", "items": inner}
        if spec.min_length is not None:
            listed["minItems"] = spec.min_length
        return {"anyOf": [listed, inner]} if _takes_text(inner) else listed
    if origin in (Mapping, dict):
        mapping: dict[str, object] = {"type": "object"}
        mapping["additionalProperties"] = _schema_of(typing.get_args(annotation)[1], unsized(spec), name)
        if spec.min_length is not None:
            mapping["minProperties"] = spec.min_length
        return mapping
    if is_form(annotation):
        form = json_schema(annotation) | {"additionalProperties": False}
        if not (short := sole_required(annotation)):
            return form
        alone = _schema_of(param_types(annotation)[short], _spec_of(annotation, short), short)
        return {"anyOf": [form, alone]}
    return _schema_of_scalar(str if annotation is SchemaRef else annotation, spec, name)


def _takes_text(schema: Mapping[str, Any]) -> bool:
    kinds = [schema.get("type"), *(s.get("type") for s in schema.get("anyOf", ()))]
    return any(kind == "string" or (isinstance(kind, list) and "string" in kind) for kind in kinds)


def _spec_of(form: type[Any], name: str) -> ParamSpec:
    return next(spec_of(f) for f in parameters(form) if f.name == name)


def _schema_of_scalar(annotation: type, spec: ParamSpec, name: str) -> dict[str, object]:
    schema: dict[str, object] = {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[annotation]}
    if annotation is str:
        bounds: dict[str, object] = {"minLength": spec.min_length, "pattern": spec.pattern}
    else:
        bounds = {"minimum": spec.ge, "maximum": spec.le}
    schema |= {key: bound for key, bound in bounds.items() if bound is not None}
    if spec.secret:
        schema["writeOnly"] = True
    if annotation is int and name.endswith("_ms"):
        return {"anyOf": [schema, {"type": "string", "pattern": DURATION_PATTERN}]}
    return schema
