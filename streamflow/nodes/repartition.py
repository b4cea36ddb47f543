"""repartition: moves items to the partition of a key, or spreads them, through a topic of the workflow's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import KEY, Batch
from streamflow.model.policies import Extent
from streamflow.nodes.checks import CONTRADICTION, check_key
from streamflow.nodes.spreading import (
    BY_HELP,
    PARTITION_HELP,
    WEIGHTS_HELP,
    PartitionBy,
    check_spread,
    placement,
    spread_columns,
    spread_stores,
)
from streamflow.operators.errors import evaluate, join_failed, label
from streamflow.operators.keys import key_bytes
from streamflow.operators.placement import Placement
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class RepartitionOperator:
    """Sets `@key`, and where the row goes if the key does not say; the topic behind it does the rest."""

    key: Projection | None
    labels: Mapping[str, str]
    placement: Placement | None = None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed, unplaced = inputs["in"], None, None
        if self.key is not None:
            batch, values, failed = evaluate(batch, self.key, self.labels)
            keys = key_bytes(values["key"], self.key.types["key"]).alias(KEY)
            batch = batch.with_frame(batch.frame.with_columns(keys))
        if self.placement is not None:
            batch, unplaced = self.placement.choose(batch)
            batch = self.placement.place(batch, ctx)
        return Result(outputs={"records": batch}, failed=join_failed([failed, unplaced]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition(Node):
    """Bring items with the same key together: all go through one partition, in order, to one task.

    The bytes of a key are: text as UTF-8, whole numbers as decimal text, bools as `true` and `false`, timestamps as the
    number of their unit since 1970, dates as ISO 8601, bytes as they are. Items with a null key are spread over the
    partitions. Nodes that need it get a repartition by themselves.

    With another `partition_by` than key it spreads work: items go to partitions by turns, by weight or as an expression
    says, whatever their key. What was counted for that is committed with the items, so a replay does the same. Nodes
    that take items by key cannot stand behind it.
    """

    spec: ClassVar = NodeSpec(
        kind="repartition",
        category="keyed",
        one_to_one=True,
        icon="shuffle",
        example="by-customer: {type: repartition, key: customer, partition_count: 8}",
    )
    key: Expression | None = param(
        default=None,
        help="What decides the partition: text, bytes, a number, a bool or a time. With another `partition_by` it may "
        "be left out: items keep their key.",
    )
    partition_by: PartitionBy = param(default="key", help=BY_HELP)
    weights: tuple[int, ...] = param(default=(), help=WEIGHTS_HELP)
    partition: Expression | None = param(default=None, help=PARTITION_HELP)
    partition_count: int | None = param(
        default=None,
        ge=1,
        le=10_000,
        help="Number of partitions. Left out: as many as there are weights, or as the stage before has.",
    )

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        del extent
        return spread_stores(self)

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        del extent
        return spread_columns(self)

    def scatters_executions(self) -> bool:
        return False  # items pass at once

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.key is None and self.partition_by == "key":
            ctx.report(
                CONTRADICTION,
                "items cannot be partitioned by a key that nothing says.",
                mend="Set `key` to what makes two items belong together, or another `partition_by`.",
            )
        check_key(ctx, self.key)
        check_spread(ctx, self, self.partition_count, count="partition_count")
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        key, labels = None, {}
        if self.key is not None:
            key, labels = ctx.projection({"key": self.key}), {"key": label("key", self.key)}
        return RepartitionOperator(key, labels, placement(ctx, self))

    def partitions(self) -> int | None:
        return self.partition_count or len(self.weights) or None
