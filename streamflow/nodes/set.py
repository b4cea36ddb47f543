"""set: adds, replaces and removes fields. On the hot path: untouched columns are handed on, never copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import orjson

from streamflow.expressions import typecheck
from streamflow.model.batch import Batch, with_series, without_columns
from streamflow.model.types import ANY, PAYLOAD, Field, Schema, Type
from streamflow.nodes.checks import CONTRADICTION, check_fields, check_keys, check_names
from streamflow.nodes.sequence import in_sequence, unwrapped
from streamflow.operators.errors import evaluate, label
from streamflow.operators.untyped import UntypedSet
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result
from streamflow.sdk.places import Place


@dataclass(frozen=True, slots=True)
class SetOperator:
    """New columns from one projection; dropped ones named. Columns are shared with the input, not copied."""

    fields: Projection | None
    labels: Mapping[str, str]
    dropped: tuple[str, ...]
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed, new = inputs["in"], None, None
        if self.fields is not None:
            batch, new, failed = evaluate(batch, self.fields, self.labels)
        frame = without_columns(batch.frame, self.dropped) if self.dropped else batch.frame
        if new is not None:
            frame = with_series(frame, new.get_columns())
        return Result(outputs={"out": Batch(frame, self.schema)}, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Set(Node):
    """Add fields, replace them, or keep only some.

    Fields are computed in the order written: one may name another above it. `item.name` is the field as it came in.
    With `keep: []` the item consists of the new fields alone, and is typed even where the input is untyped JSON.
    """

    spec: ClassVar = NodeSpec(
        kind="set",
        category="transform",
        one_to_one=True,
        icon="pencil",
        example="priced: {type: set, fields: {total: amount * qty, "
        'tier: \'"gold" if total > 1000 else "standard"\'}, remove: [note]}',
    )
    fields: Mapping[str, Expression] | None = param(default=None, help="New value of each field by name.")
    keep: tuple[str, ...] | None = param(
        default=None, help="Fields of the input that stay besides the new ones. Left out: all. []: none."
    )
    remove: tuple[str, ...] = param(default=(), help="Fields of the input that go.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        source = ctx.inputs["in"]
        if self.keep is not None and self.remove:
            ctx.report(
                CONTRADICTION,
                "keep and remove exclude each other.",
                param="remove",
                mend="Say which fields stay, or go.",
            )
        (check_names if source.kind == "record" or self.keep == () else check_keys)(ctx, self._fields, param="fields")
        check_fields(ctx, self.keep or (), source, param="keep")
        check_fields(ctx, self.remove, source, param="remove")
        if source.kind not in ("record", "any") and self.keep != ():
            ctx.report(
                CONTRADICTION,
                f"items are {source}: they have no fields that could be kept.",
                param="keep",
                mend="Set keep: [] to make a new item of fields.",
            )
        types = {n: ctx.typeof(e, param=f"fields.{n}") for n, e in in_sequence(self._fields).items()}
        return {"out": schema_after(source, types, self.keep, self.remove)}

    def operator(self, ctx: BuildContext) -> Operator:
        labels = {n: label(f"fields.{n}", e) for n, e in self._fields.items()}
        return make_set(ctx, in_sequence(self._fields), labels, keep=self.keep, remove=self.remove)

    @property
    def _fields(self) -> Mapping[str, Expression]:
        return self.fields or {}


def schema_after(
    source: Schema, new: Mapping[str, Type], keep: tuple[str, ...] | None, remove: tuple[str, ...]
) -> Schema:
    """Schema of the items once fields are set and others are gone; replaced fields stay in their places."""
    if source.kind != "record" and keep != ():
        return ANY
    old = [f for f in source.fields if _stays(f.name, keep, remove) or f.name in new]
    fields = [Field(name=f.name, type=new[f.name]) if f.name in new else f for f in old]
    known = {f.name for f in old}
    return Type(kind="record", fields=(*fields, *(Field(name=n, type=t) for n, t in new.items() if n not in known)))


def make_set(
    ctx: BuildContext,
    fields: Mapping[str, Expression],
    labels: Mapping[str, str],
    *,
    keep: tuple[str, ...] | None,
    remove: tuple[str, ...],
) -> Operator:
    """The operator that sets `fields` (each over the incoming item) and drops others, for typed and untyped items."""
    source = ctx.inputs["in"]
    if source.kind != "record" and keep != ():
        whole = _whole(fields, keep, remove)
        # Each field keeps the limits of expressions; all of them in one may not.
        fits = not any(f.severity == "error" for f in typecheck(whole, ctx.scope("in"))[1])
        return UntypedSet(
            whole=ctx.projection({"new": whole}, expect={"new": ANY}) if fits else None,
            fields=ctx.projection(fields, expect=dict.fromkeys(fields, ANY)),
            labels=labels,
            keep=keep,
            remove=remove,
        )
    names = [f.name for f in source.fields] if source.kind == "record" else [PAYLOAD]
    dropped = tuple(n for n in names if not _stays(n, keep, remove) and n not in fields)
    return SetOperator(ctx.projection(fields) if fields else None, labels, dropped, ctx.outputs["out"])


def _stays(name: str, keep: tuple[str, ...] | None, remove: tuple[str, ...]) -> bool:
    return name in keep if keep is not None else name not in remove


def _whole(fields: Mapping[str, Expression], keep: tuple[str, ...] | None, remove: tuple[str, ...]) -> Expression:
    """One expression that gives the whole new item, so that each JSON text is parsed and written once."""
    base = "item"
    if keep is not None:
        base = f"pick(item, {', '.join(_quoted(n) for n in keep)})"
    elif remove:
        base = f"omit(item, {', '.join(_quoted(n) for n in remove)})"
    new = ", ".join(f"{_quoted(n)}: ({unwrapped(e.text)})" for n, e in fields.items())
    return Expression(f"merge({base}, {{{new}}})", next((e.place for e in fields.values()), Place()))


def _quoted(name: str) -> str:
    return orjson.dumps(name).decode()
