"""split: an array in an item becomes items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import ANY, LONG, PAYLOAD, Field, Schema, Type
from streamflow.nodes.checks import COLLISION, UNKNOWN_FIELD, WRONG_TYPE, check_names, nearest
from streamflow.operators.errors import without
from streamflow.operators.explode import explode, take
from streamflow.operators.untyped import parse
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class SplitOperator:
    """Explodes a list column. Rows whose list is null or empty are filtered; null elements of records are left out."""

    field: str
    keep: bool
    into_record: bool  # elements are records that become the item
    index: str | None
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        lists = batch.frame[self.field]
        if self.into_record:
            lists = lists.list.drop_nulls()
        full = (lists.list.len() > 0).fill_null(False)
        frame = batch.frame.with_columns(lists).filter(full)
        filtered = len(batch) - frame.height
        others = [c for c in batch.payload_columns() if c != self.field]
        if not self.keep:
            frame = frame.drop(others)
        frame, index = explode(frame, self.field)
        if self.into_record:
            frame = frame.unnest(self.field)
        if self.index is not None:
            frame = frame.with_columns(index.alias(self.index))
        return Result(outputs={"out": Batch(frame, self.schema)}, filtered=filtered)


@dataclass(frozen=True, slots=True)
class UntypedSplit:
    """The same on JSON items."""

    field: str
    keep: bool
    index: str | None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        wrong: dict[int, tuple[str, str]] = {}
        children: list[list[bytes]] = []
        for at, item in enumerate(parse(batch.frame[PAYLOAD])):
            elements = item.get(self.field) if isinstance(item, dict) else item
            if isinstance(item, dict) and (elements is None or isinstance(elements, list)):
                children.append([orjson.dumps(self._child(item, e, i)) for i, e in enumerate(elements or ())])
            else:
                what = (
                    f"field: {self.field!r} is no array" if isinstance(item, dict) else "field: the item is no object"
                )
                wrong[at] = ("wrong_type", what)
        fine, failed = without(batch, wrong)
        frame = take(fine.frame.drop(PAYLOAD), [len(c) for c in children])
        items = pl.Series(PAYLOAD, [text for c in children for text in c], dtype=pl.Binary)
        empty = sum(not c for c in children)
        return Result(outputs={"out": Batch(frame.with_columns(items), ANY)}, failed=failed, filtered=empty)

    def _child(self, item: dict[str, Any], element: Any, index: int) -> dict[str, Any]:
        if self.keep:
            child = {**item, self.field: element}
        else:
            child = dict(element) if isinstance(element, dict) else {self.field: element}
        if self.index is not None:
            child[self.index] = index
        return child


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Node):
    """Make one item of each element of an array.

    Elements that are records become the items; other elements stand in the field's place. An item whose array is null
    or empty gives nothing.
    """

    spec: ClassVar = NodeSpec(
        kind="split",
        category="split",
        outputs=(Port(name="out", help="One item for each element, in their order."),),
        icon="split-square-horizontal",
        example="lines: {type: split, field: lines, keep: true, index: line_number}",
    )
    field: str = param(help="The field that holds the array.", min_length=1)
    keep: bool = param(default=False, help="Whether the other fields stay; then the element takes the array's place.")
    index: str | None = param(default=None, help="Field that takes the element's position, from 0.", min_length=1)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        source = ctx.inputs["in"]
        if self.index is not None:
            check_names(ctx, [self.index], param="index")
        if source.kind == "any":
            return {"out": ANY}
        found = source.field(self.field) if source.kind == "record" else None
        if found is None or found.type.kind != "array" or found.type.element is None:
            if found is not None:
                ctx.report(WRONG_TYPE, f"field {self.field!r} is {found.type}, not an array.", param="field")
            else:
                names = [f.name for f in source.fields]
                ctx.report(
                    UNKNOWN_FIELD,
                    f"items have no field {self.field!r}.",
                    param="field",
                    mend=nearest(self.field, names),
                )
            return {}
        fields = self._fields(source, found.type.element)
        if self.index is not None and any(f.name == self.index for f in fields):
            ctx.report(
                COLLISION, f"items have a field {self.index!r} already.", param="index", mend="Choose another name."
            )
        if self.index is not None:
            fields = (*fields, Field(name=self.index, type=LONG))
        return {"out": Type(kind="record", fields=fields)}

    def operator(self, ctx: BuildContext) -> Operator:
        source = ctx.inputs["in"]
        if source.kind == "any":
            return UntypedSplit(self.field, self.keep, self.index)
        found = source.field(self.field)
        assert found is not None
        assert found.type.element is not None
        into_record = not self.keep and found.type.element.kind == "record"
        return SplitOperator(self.field, self.keep, into_record, self.index, ctx.outputs["out"])

    def _fields(self, source: Schema, element: Type) -> tuple[Field, ...]:
        if not self.keep and element.kind == "record":
            return element.fields
        split = Field(name=self.field, type=element)
        return tuple(split if f.name == self.field else f for f in source.fields) if self.keep else (split,)
