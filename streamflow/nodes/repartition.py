"""repartition: moves items to the partition of a key, through a topic of the workflow's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import KEY, Batch
from streamflow.nodes.checks import check_key
from streamflow.operators.errors import evaluate, label
from streamflow.operators.keys import key_bytes
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class RepartitionOperator:
    """Sets `@key`; the topic behind it does the rest."""

    key: Projection
    labels: Mapping[str, str]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.key, self.labels)
        keys = key_bytes(values["key"], self.key.types["key"]).alias(KEY)
        return Result(outputs={"records": batch.with_frame(batch.frame.with_columns(keys))}, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition(Node):
    """Bring items with the same key together: all go through one partition, in order, to one task.

    The bytes of a key are: text as UTF-8, whole numbers as decimal text, bools as `true` and `false`, timestamps as the
    number of their unit since 1970, dates as ISO 8601, bytes as they are. Items with a null key are spread over the
    partitions. Nodes that need it get a repartition by themselves.
    """

    spec: ClassVar = NodeSpec(
        kind="repartition",
        category="keyed",
        one_to_one=True,
        icon="shuffle",
        example="by-customer: {type: repartition, key: customer, partition_count: 8}",
    )
    key: Expression = param(help="What decides the partition: text, bytes, a number, a bool or a time.")
    partition_count: int | None = param(
        default=None, ge=1, le=10_000, help="Number of partitions. Left out: as many as the stage before has."
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        return RepartitionOperator(ctx.projection({"key": self.key}), {"key": label("key", self.key)})

    def partitions(self) -> int | None:
        return self.partition_count
