"""What nodes on tables share: keys of their ports, and items with the fields of two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from streamflow.model.types import Field, Schema, Type
from streamflow.nodes.checks import (
    COLLISION,
    UNKNOWN_FIELD,
    WRONG_TYPE,
    check_known,
    is_field_name,
    nearest,
    report_key,
)
from streamflow.operators.errors import label
from streamflow.operators.table_rows import PortKey
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, SchemaContext

# Types whose values are spelt alike as keys (operators/keys.py). Bytes are what stands on a topic, and may be any.
_SPELT = {"string": "text", "enum": "text", "uuid": "text", "int": "number", "long": "number", "float": "double"}
_AS_IT_IS = frozenset({"bytes", "fixed", "any"})


def first_given(node: Node, names: Iterable[str]) -> str:
    """The first of these parameters that has a value; the last one where none has."""
    name = ""
    for name in names:
        if getattr(node, name) is not None:
            return name
    return name


def check_port_keys(
    ctx: SchemaContext, params: Mapping[str, str], node: Node, *, first: tuple[Expression, Type, str] | None = None
) -> None:
    """Keys of connected ports are scalars, and equal ones are spelt alike. `params`: parameter by port.

    `first`: key, its type and its port, with which the others are compared; left out: that of the first port.
    """
    beside = {p.name for p in node.input_ports() if p.beside}  # checked where they are partitioned
    for port, param in params.items():
        key = getattr(node, param)
        if port not in ctx.inputs or port in beside or not isinstance(key, Expression):
            continue
        if not check_known(ctx, key, param=param, port=port):
            continue
        kind = ctx.typeof(key, param=param, port=port)
        report_key(ctx, kind, key, param=param)
        if first is not None and not _alike(first[1], kind):
            text, of, other = first
            ctx.report(
                WRONG_TYPE,
                f"`{text.text}` of port {other!r} is {of}, and `{key.text}` of port {port!r} {kind}: such keys are "
                "never equal.",
                param=param,
                mend="Convert one of them.",
            )
        first = first or (key, kind, port)


def _alike(one: Type, other: Type) -> bool:
    if one.kind in _AS_IT_IS or other.kind in _AS_IT_IS or "null" in (one.kind, other.kind):
        return True
    same = _SPELT.get(one.kind, one.kind) == _SPELT.get(other.kind, other.kind)
    return same and (one.unit, one.scale) == (other.unit, other.scale)


def port_keys(ctx: BuildContext, params: Mapping[str, str], node: Node) -> dict[str, PortKey]:
    """How rows of each connected port say their key. `params`: parameter by port, in the order of the ports.

    Deletions that go beside the rows of another port (`Port.beside`) have nothing but the key they were partitioned by.
    """
    found: dict[str, PortKey] = {}
    beside = {p.name for p in node.input_ports() if p.beside}
    for port, param in params.items():
        if port in beside:
            found[port] = PortKey()
        elif port in ctx.inputs:
            key = getattr(node, param)
            found[port] = PortKey(ctx.projection({"key": key}, port=port), label(param, key))
    return found


def check_records(ctx: SchemaContext, ports: Sequence[str]) -> bool:
    """Items of these ports have fields that are known."""
    fine = True
    for port in ports:
        schema = ctx.inputs[port]
        if schema.kind != "record":
            fine = False
            ctx.report(
                WRONG_TYPE,
                f"items of port {port!r} are {schema}, and have no fields that are known.",
                mend="Give the trigger a schema, or make fields with `set` before this node.",
            )
    return fine


def taken_fields(schema: Schema, prefix: str, only: Sequence[str] = ()) -> dict[str, str]:
    """Fields of a side, all or `only` these, and what they are called in the result."""
    return {f.name: prefix + f.name for f in schema.fields if not only or f.name in only}


def check_taken(ctx: SchemaContext, schema: Schema, only: Sequence[str], prefix: str, *, param: str) -> None:
    """Fields that are named exist, and a prefix makes names that fields can have."""
    known = [f.name for f in schema.fields]
    for name in only:
        if name not in known:
            ctx.report(UNKNOWN_FIELD, f"items have no field {name!r}.", param=param, mend=nearest(name, known))
    if prefix and not is_field_name(prefix):
        ctx.report(
            WRONG_TYPE, f"{prefix!r} cannot begin the name of a field.", param="prefix", mend="Write such as `right_`."
        )


def side_by_side(ctx: SchemaContext, sides: Sequence[tuple[Schema, Mapping[str, str], bool]], *, mend: str) -> Schema:
    """A record with the fields of all sides. Each: schema, names of the fields it gives, whether they may be absent."""
    fields: list[Field] = []
    for schema, names, absent in sides:
        for f in schema.fields:
            if f.name in names:
                kind = f.type.optional() if absent else f.type
                fields.append(replace(f, name=names[f.name], type=kind, aliases=(), has_default=False, default=None))
    made = [f.name for f in fields]
    for name in sorted({n for n in made if made.count(n) > 1}):
        ctx.report(COLLISION, f"items would have two fields {name!r}.", param="prefix", mend=mend)
    return Type(kind="record", fields=tuple(fields))
