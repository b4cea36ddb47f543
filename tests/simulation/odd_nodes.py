"""Node kinds that only tests have: some break the rules, some do what no built-in kind does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from streamflow.model.batch import EXECUTION, PATH, TS, WM, Batch
from streamflow.model.types import DOUBLE, LONG, Field, Type
from streamflow.nodes import builtin, parts
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result
from streamflow.sdk.registry import NodeRegistry


@dataclass(frozen=True, slots=True)
class CheatOperator:
    """Loses or doubles the row whose field `n` is `at`."""

    how: str
    at: int

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        chosen = batch.frame["n"] == self.at
        if self.how == "lose":
            return Result(outputs={"out": batch.where(~chosen)})
        if self.how == "double":
            return Result(outputs={"out": batch.with_frame(pl.concat([batch.frame, batch.frame.filter(chosen)]))})
        # Says that it filtered a row, and hands it on all the same.
        return Result(outputs={"out": batch}, filtered=int(chosen.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cheat(Node):
    """A node with a defect."""

    spec: ClassVar = NodeSpec(kind="cheat", category="transform", one_to_one=True)
    how: Literal["lose", "double", "lie"] = param(help="What it does to the row.")
    at: int = param(help="The row's `n`.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return dict(ctx.inputs) and {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        return CheatOperator(self.how, self.at)


@dataclass(frozen=True, slots=True)
class StampOperator:
    """Adds the clock reading of the step and a random number for each row."""

    schema: Type

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        frame = inputs["in"].frame
        drawn = [ctx.random(e, p).random() for e, p in frame.select(EXECUTION, PATH).iter_rows()]
        frame = frame.with_columns(
            pl.lit(ctx.now_ms, dtype=pl.Int64).alias("seen_ms"), pl.Series("drawn", drawn, dtype=pl.Float64)
        )
        return Result(outputs={"out": Batch(frame, self.schema)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(Node):
    """Uses what a replay has to repeat: the clock and chance."""

    spec: ClassVar = NodeSpec(kind="stamp", category="transform", one_to_one=True, needs=(EXECUTION, PATH))

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        added = Field(name="seen_ms", type=LONG), Field(name="drawn", type=DOUBLE)
        return {"out": Type(kind="record", fields=(*ctx.inputs["in"].fields, *added))}

    def operator(self, ctx: BuildContext) -> Operator:
        return StampOperator(ctx.outputs["out"])


@dataclass(frozen=True, slots=True)
class TellTimeOperator:
    """Adds event time and watermark of each row."""

    schema: Type

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        frame = inputs["in"].frame
        frame = frame.with_columns(pl.col(TS).alias("ts"), pl.col(WM).alias("wm"))
        assert frame["wm"].max() <= ctx.watermark_ms, "time in the context is behind rows that were handed in"
        return Result(outputs={"out": Batch(frame, self.schema)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TellTime(Node):
    """Reads what only nodes with windows read: the watermark."""

    spec: ClassVar = NodeSpec(kind="tell-time", category="transform", one_to_one=True, needs=(TS, WM))

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        added = Field(name="ts", type=LONG), Field(name="wm", type=LONG)
        return {"out": Type(kind="record", fields=(*ctx.inputs["in"].fields, *added))}

    def operator(self, ctx: BuildContext) -> Operator:
        return TellTimeOperator(ctx.outputs["out"])


def registry() -> NodeRegistry:
    return NodeRegistry((*builtin(), Cheat, Stamp, TellTime), parts())
