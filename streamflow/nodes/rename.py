"""rename: other names for fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from streamflow.model.batch import Batch
from streamflow.model.types import Schema
from streamflow.nodes.checks import COLLISION, WRONG_TYPE, check_fields, check_keys, check_names
from streamflow.operators.untyped import edited
from streamflow.sdk.errors import ItemError
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class RenameOperator:
    """Columns under other names; no data moves."""

    fields: Mapping[str, str]
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        return Result(outputs={"out": Batch(inputs["in"].frame.rename(self.fields), self.schema)})


@dataclass(frozen=True, slots=True)
class UntypedRename:
    """Keys of JSON objects under other names, in their places; a key that an item lacks is passed over."""

    fields: Mapping[str, str]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed = edited(inputs["in"], self._edit, "fields")
        return Result(outputs={"out": batch}, failed=failed)

    def _edit(self, item: dict[str, Any]) -> dict[str, Any]:
        renamed = {self.fields.get(k, k): v for k, v in item.items()}
        if len(renamed) < len(item):
            names = [self.fields.get(k, k) for k in item]
            twice = next(n for n in names if names.count(n) > 1)
            raise ItemError(f"the item would have two fields {twice!r}", item_code="collision")
        return renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename(Node):
    """Give fields other names. Two names may change places; a name that another field has already is an error."""

    spec: ClassVar = NodeSpec(
        kind="rename",
        category="transform",
        one_to_one=True,
        icon="tag",
        example="english: {type: rename, fields: {betrag: amount, menge: qty}}",
    )
    fields: Mapping[str, str] = param(help="New name of each field, by its old name.", min_length=1)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        source = ctx.inputs["in"]
        (check_keys if source.kind == "any" else check_names)(ctx, self.fields.values(), param="fields")
        if source.kind not in ("record", "any"):
            ctx.report(WRONG_TYPE, f"items are {source}: they have no fields.", param="fields")
            return {}
        check_fields(ctx, self.fields, source, param="fields")
        names = [self.fields.get(f.name, f.name) for f in source.fields]
        for name in sorted({n for n in names if names.count(n) > 1}):
            ctx.report(
                COLLISION,
                f"two fields would be named {name!r}.",
                param="fields",
                mend=f"Rename or remove the other {name!r} too.",
            )
        renamed = tuple(replace(f, name=n, aliases=()) for f, n in zip(source.fields, names, strict=True))
        return {"out": replace(source, name="", fields=renamed, aliases=()) if source.kind == "record" else source}

    def operator(self, ctx: BuildContext) -> Operator:
        if ctx.inputs["in"].kind == "any":
            return UntypedRename(self.fields)
        return RenameOperator(dict(self.fields), ctx.outputs["out"])
