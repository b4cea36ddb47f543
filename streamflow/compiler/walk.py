"""Finds the expressions inside a node's parameters, wherever they are nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from streamflow.expressions import parse_template
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, Template


def expressions_of(node: Node) -> Iterator[Expression]:
    """All expressions of a node, templates as the expressions they stand for."""
    yield from _inside(node)


def _inside(value: object) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, Template):
        yield parse_template(value.text, value.place)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _inside(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _inside(inner)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for param in dataclasses.fields(value):
            yield from _inside(getattr(value, param.name))
