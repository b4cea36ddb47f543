"""Where rows leave for the topic that leads back to a loop. The compiler puts it in; no document can name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from streamflow.model.batch import KEY, Batch, loop_column
from streamflow.operators.placement import TO
from streamflow.operators.rounds import HOME, HOME_KEY
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class LoopBackOperator:
    """Rows go home: to the task that they entered the loop in, with the record key that they had there."""

    loop: str

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        home = pl.col(loop_column(self.loop, HOME)).cast(pl.Int32).alias(TO)
        frame = batch.frame.with_columns(home, pl.col(loop_column(self.loop, HOME_KEY)).alias(KEY))
        return Result(outputs={"records": batch.with_frame(frame)})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBack(Node):
    """Items at the end of a round, which a topic brings back."""

    spec: ClassVar = NodeSpec(
        kind="loop.back", category="control", outputs=(Port(name="out"),), one_to_one=True, can_fail=False
    )
    partition_by: ClassVar = "expression"  # rows say where they go

    loop: str = param(help="The loop.")

    def scatters_executions(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return LoopBackOperator(self.loop)

    def spread_over(self) -> int | None:
        return None
