"""manual: the trigger for trying a workflow: its items stand in the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import orjson
import polars as pl

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, PAYLOAD, Schema
from streamflow.nodes.checks import MISFIT, WRONG_TYPE
from streamflow.operators.typed_json import typed_items
from streamflow.sdk.node import BuildContext, Json, Node, NodeSpec, Port, SchemaContext, SchemaRef, Schemas, param
from streamflow.sdk.source import Source, SourceBatch

ITEMS_MAX = 100_000


class ManualSource:
    """Hands out the items once, as one run. The position is how many were handed out."""

    def __init__(self, items: list[object], schema: Schema) -> None:
        self._items, self._schema = items, schema
        self._at = 0

    def open(self, position: str) -> None:
        self._at = int(position or 0)

    def read(self, *, rows_max: int, timeout_ms: int) -> SourceBatch:
        start, self._at = self._at, min(self._at + rows_max, len(self._items))
        texts = pl.Series(PAYLOAD, [orjson.dumps(v) for v in self._items[start : self._at]], dtype=pl.Binary)
        frame = texts.to_frame() if self._schema.kind == "any" else typed_items(texts, self._schema)[0]
        done = self._at >= len(self._items)
        some = self._at > start
        return SourceBatch(
            frame=frame,
            position=str(self._at),
            begins="run" if some and start == 0 else "",
            ends=some and done,
            done=done,
        )

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual(Node):
    """Start one execution with the items written here. Without items there is one that is empty."""

    spec: ClassVar = NodeSpec(
        kind="manual",
        category="trigger",
        inputs=(),
        outputs=(Port(name="out", help="The items, in the order written."),),
        icon="play",
        example="try: {type: manual, items: [{name: Ada, age: 36}, {name: Alan, age: 41}]}",
    )
    items: Json | None = param(default=None, help="List of items, each any JSON value.")
    schema: SchemaRef | None = param(default=None, help="Schema of the items. Left out: untyped.")

    def trigger_extent(self) -> Extent:
        return "run"

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.items is not None and not isinstance(self.items, list | tuple):
            ctx.report(WRONG_TYPE, "items is a list.", param="items", mend="Put a single item into [].")
            return {}
        if len(self._items()) > ITEMS_MAX:
            ctx.report(
                WRONG_TYPE,
                f"{len(self._items()):,} items; {ITEMS_MAX:,} are allowed.",
                param="items",
                mend="Put them into a file and use the file trigger.",
            )
        if self.schema is None:
            return {"out": ANY}
        schema = ctx.schema(self.schema, param="schema")
        if schema is None:
            return {}
        texts = pl.Series(PAYLOAD, [orjson.dumps(v) for v in self._items()], dtype=pl.Binary)
        for at, (_, why) in typed_items(texts, schema)[1].items():
            ctx.report(MISFIT, f"item {at + 1} does not fit the schema: {why}.", param="items")
        return {"out": schema}

    def source(self, ctx: BuildContext) -> Source:
        return ManualSource(self._items(), ctx.outputs["out"])

    def _items(self) -> list[object]:
        return list(self.items) if isinstance(self.items, list | tuple) else [{}]
