"""What the compiler puts behind the compensations of an item that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import orjson
import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, Batch
from streamflow.model.types import PAYLOAD, Schema
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas
from streamflow.sdk.operator import ENDING_CODES, Context, Operator, Result

_MEMBERS = {"code": ERROR_CODE, "message": ERROR_MESSAGE, "node": ERROR_NODE}


@dataclass(frozen=True, slots=True)
class FailAgainOperator:
    """Items of an error port fail as they did there."""

    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        if self.schema.kind == "record":
            said = batch.frame.select(
                pl.col("error").struct.field(name).alias(column) for name, column in _MEMBERS.items()
            )
        else:
            errors = [orjson.loads(item)["error"] for item in batch.frame[PAYLOAD].to_list()]
            said = pl.DataFrame(
                {column: [e[name] for e in errors] for name, column in _MEMBERS.items()},
                schema=dict.fromkeys(_MEMBERS.values(), pl.String()),
            )
        # What ended with its execution has had its fate where it ended.
        fails = ~said[ERROR_CODE].is_in(list(ENDING_CODES))
        failed = batch.with_frame(batch.frame.with_columns(said.get_columns())).where(fails)
        return Result(failed=failed, filtered=len(batch) - len(failed))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailAgain(Node):
    """The end of an item that was compensated and that nothing else takes: a dead letter, of the node that failed."""

    spec: ClassVar = NodeSpec(kind="compensated", category="action", outputs=(), inputs=(Port(name="in"),))

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {}

    def operator(self, ctx: BuildContext) -> Operator:
        return FailAgainOperator(ctx.inputs["in"])
