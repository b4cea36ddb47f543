"""Functions on maps, records and JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from streamflow.expressions.failure import BAD_CAST, TOO_LARGE, WRONG_TYPE, Fail
from streamflow.expressions.json_values import jsonify
from streamflow.expressions.kinds import common
from streamflow.expressions.limits import TEXT_CHARS_MAX
from streamflow.expressions.signatures import Function, Implementation, function, signature
from streamflow.expressions.values import json_text
from streamflow.model.types import ANY, NULL, Type, array_of

TITLE = "Maps, records and JSON"
INTRO = "A JSON value is of type `any`: its shape is known only as items run. A key that is missing gives null."


def _value_type(types: Sequence[Type]) -> Type:
    if types[0].kind == "record":
        return (common([f.type for f in types[0].fields]) or ANY).optional() if types[0].fields else NULL
    return (types[0].element or NULL).optional()


def member(value: Any, key: str) -> Any:
    """A key of an object: null when it is missing. Anything but an object has no keys."""
    if type(value) is dict:
        return value.get(key)
    raise Fail(WRONG_TYPE)


def index_any(value: Any, key: Any) -> Any:
    """`value[key]` of JSON: a key of an object, or a position of a list or text."""
    if type(value) is dict and type(key) is str:
        return value.get(key)
    if type(value) in (list, str) and type(key) is int:
        try:
            return value[key]
        except IndexError:
            raise Fail(4) from None
    raise Fail(WRONG_TYPE)


def _get_any(value: Any, key: Any, default: Any) -> Any:
    if type(value) is dict and type(key) is str:
        found = value.get(key)
        return default if found is None else found
    if type(value) in (list, str) and type(key) is int:
        found = value[key] if -len(value) <= key < len(value) else None
        return default if found is None else found
    return default


def _merge(*maps: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for m in maps:
        found |= m
    return found


def _parse_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Fail(BAD_CAST) from None


def _to_json(types: Sequence[Type]) -> Implementation:
    convert = jsonify(types[0])

    def py(value: Any) -> str:
        if value is not None and convert is not None:
            value = convert(value)
        try:
            text = json_text(value).decode()
        except (orjson.JSONEncodeError, RecursionError):
            raise Fail(BAD_CAST) from None
        if len(text) > TEXT_CHARS_MAX * 16:
            raise Fail(TOO_LARGE)
        return text

    return Implementation(py=py)


def _pick(whole: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {n: whole[n] for n in names if n in whole}


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Fail(WRONG_TYPE)
    return value


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="get",
        doc="The value of a key, or the item at a position; the default (null) when it is missing or null.",
        signatures=(signature("any value", "any", _get_any, optional=(("value", None),), strict=False),),
        examples=(('get({"a": 1}, "a", 0)', "1"), ('get({"a": 1}, "b", 0)', "0"), ("get([1], 5, -1)", "-1")),
    ),
    Function(
        name="has",
        doc="Whether a map, record or object has a key, be its value null.",
        signatures=(signature("object string", "bool", lambda m, key: key in m),),
        examples=(('has({"a": 1}, "b")', "false"),),
    ),
    function(
        "keys",
        "The keys of a map, record or object, in their order.",
        "object",
        "array<string>",
        list,
        ('keys({"a": 1, "b": 2})', '["a", "b"]'),
    ),
    Function(
        name="values",
        doc="The values of a map, record or object, in their order.",
        signatures=(
            signature("map", lambda t: array_of(_value_type(t)), lambda m: list(m.values())),
            signature("any", "array<any>", lambda m: list(_object(m).values())),
        ),
        examples=(('values({"a": 1, "b": 2})', "[1, 2]"),),
    ),
    Function(
        name="entries",
        doc="The entries of an object, as a list of {key, value}.",
        signatures=(signature("any", "array<any>", lambda m: [{"key": k, "value": v} for k, v in _object(m).items()]),),
        examples=(('entries({"a": 1})', '[{"key": "a", "value": 1}]'),),
    ),
    function(
        "merge",
        "One object of several; later keys win.",
        "any any",
        "any",
        lambda *maps: _merge(*map(_object, maps)),
        ('merge({"a": 1}, {"b": 2})', '{"a": 1, "b": 2}'),
        variadic="any",
    ),
    function(
        "pick",
        "An object with only the named keys.",
        "any string",
        "any",
        lambda m, *names: _pick(_object(m), names),
        ('pick({"a": 1, "b": 2}, "b")', '{"b": 2}'),
        variadic="string",
    ),
    function(
        "omit",
        "An object without the named keys.",
        "any string",
        "any",
        lambda m, *names: {k: v for k, v in _object(m).items() if k not in names},
        ('omit({"a": 1, "b": 2}, "b")', '{"a": 1}'),
        variadic="string",
    ),
    function(
        "parse_json",
        "The value that a JSON text means.",
        "string",
        "any",
        _parse_json,
        ('parse_json("{\\"a\\": [1]}").a[0]', "1"),
        ('parse_json("{")', "error: bad_cast"),
        fails=True,
        nullable=True,
    ),
    function(
        "to_json",
        "The JSON text of a value, without spaces.",
        "value",
        "string",
        None,
        ('to_json({"a": [1, null]})', '"{\\"a\\":[1,null]}"'),
        ('to_json("x")', '"\\"x\\""'),
        make=_to_json,
        strict=False,
        fails=True,
    ),
)
