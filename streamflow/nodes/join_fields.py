"""The fields of what a join gives, and where each comes from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from streamflow.model.types import PAYLOAD, Field, Schema, Type, record_of
from streamflow.nodes.checks import is_field_name
from streamflow.operators.join_rows import Output
from streamflow.operators.join_times import SIDES, Side

if TYPE_CHECKING:
    from streamflow.nodes.join import Join


def pair_schema(left: Schema, right: Schema) -> Schema:
    """What a condition sees: the items of both sides."""
    return record_of({"left": left, "right": right})


def late_schema(left: Schema, right: Schema) -> Schema:
    """Items of either side: one of the two is there."""
    return record_of({"left": left.optional(), "right": right.optional()})


def outputs_of(node: Join, left: Schema, right: Schema) -> tuple[Output, ...]:
    """Each field of the result, in order: left ones, then right ones."""
    if node.kind in ("semi", "anti"):
        names = [f.name for f in left.fields] if left.kind == "record" else [PAYLOAD]
        return tuple(Output(name, "left", name) for name in names)
    shared = shared_key(node, left, right)
    found: list[Output] = []
    sides: tuple[tuple[Side, Schema, str], ...] = (
        ("left", left, node.left_prefix),
        ("right", right, node.right_prefix),
    )
    for side, schema, prefix in sides:
        if schema.kind != "record":
            found.append(Output(side, side, PAYLOAD))
            continue
        for f in schema.fields:
            if f.name != shared:
                found.append(Output(f"{prefix}{f.name}", side, f.name))
            elif side == "left":
                found.append(Output(f.name, side, f.name, both=True))
    return tuple(found)


def joined_schema(node: Join, left: Schema, right: Schema) -> tuple[Schema, list[str]]:
    """(schema of the result, names that would be there twice)."""
    if node.kind in ("semi", "anti"):
        return left, []
    outputs = outputs_of(node, left, right)
    sides: dict[Side, Schema] = {"left": left, "right": right}
    fields = [Field(name=o.name, type=_type(node, o, sides)) for o in outputs]
    twice = [name for name, count in Counter(o.name for o in outputs).items() if count > 1]
    return Type(kind="record", fields=tuple(fields)), twice


def shared_key(node: Join, left: Schema, right: Schema) -> str | None:
    """The key, if it is one field that both sides have."""
    if node.key is None or node.left_key is not None or node.right_key is not None:
        return None
    name = node.key.text.strip()
    one, other = (s.field(name) if s.kind == "record" and is_field_name(name) else None for s in (left, right))
    return name if one and other and one.type.required() == other.type.required() else None


def _type(node: Join, output: Output, sides: dict[Side, Schema]) -> Type:
    def of(side: Side) -> Type:
        schema = sides[side]
        if schema.kind != "record":
            return schema
        found = schema.field(output.of)
        assert found is not None
        return found.type

    if output.both:
        nullable = node.kind != "inner" and any(of(side).nullable for side in SIDES)
        return of("left").optional() if nullable else of("left").required()
    alone = {"left": ("right", "outer"), "right": ("left", "outer")}[output.side]
    return of(output.side).optional() if node.kind in alone else of(output.side)
