"""repartition: moves items to the partition of a key, or spreads them, through a topic of the workflow's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from streamflow.model.batch import GONE, KEY, Batch
from streamflow.model.policies import Extent
from streamflow.model.types import BYTES, Schema, frame_schema, record_of
from streamflow.nodes.checks import CONTRADICTION
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
from streamflow.nodes.tables import check_port_keys, first_given, port_keys
from streamflow.operators.errors import join_failed
from streamflow.operators.placement import Placement
from streamflow.operators.records import in_turn
from streamflow.operators.table_rows import PortKey
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class RepartitionOperator:
    """Sets `@key`, and where the row goes if the key does not say; the topic behind it does the rest. Of deletions only
    the key goes on, also as `@gone`.
    """

    key: PortKey | None
    gone: PortKey | None
    placement: Placement | None
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        made: list[Batch] = []
        failures: list[Batch | None] = []
        filtered = 0
        if "gone" in inputs:
            assert self.gone is not None
            batch, keys, failed = self.gone.names(inputs["gone"])
            filtered = keys.null_count()
            nothing = [pl.lit(None, t).alias(n) for n, t in frame_schema(self.schema).items()]
            frame = batch.frame.select(batch.reserved_columns())
            frame = frame.with_columns(keys.alias(KEY), keys.alias(GONE), *nothing).drop_nulls(GONE)
            made.append(Batch(frame, self.schema))
            failures.append(failed)
        if "in" in inputs:
            batch = inputs["in"]
            if self.key is not None:
                batch, keys, failed = self.key.names(batch)
                batch = batch.with_frame(batch.frame.with_columns(keys.alias(KEY)))
                failures.append(failed)
            if self.placement is not None:
                batch, failed = self.placement.choose(batch)
                batch = self.placement.place(batch, ctx)
                failures.append(failed)
            made.append(batch)
        records = in_turn(made, deletions=self.gone is not None)
        return Result(outputs={"records": records}, failed=join_failed(failures), filtered=filtered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition(Node):
    """Bring items with the same key together: all go through one partition, in order, to one task.

    The bytes of a key are: text as UTF-8, whole numbers as decimal text, bools as `true` and `false`, timestamps as the
    number of their unit since 1970, dates as ISO 8601, bytes as they are. Items with a null key are spread over the
    partitions. Nodes that need it get a repartition by themselves.

    With another `partition_by` than key it spreads work: items go to partitions by turns, by weight or as an expression
    says, whatever their key. What was counted for that is committed with the items, so a replay does the same. Nodes
    that take items by key cannot stand behind it.

    Items at `gone` are deletions of what comes at `in`. They keep their place among those, and come out by port `gone`
    with nothing but their key, as bytes. Deletions with a null key are filtered.
    """

    spec: ClassVar = NodeSpec(
        kind="repartition",
        category="keyed",
        inputs=(
            Port(name="in", help="Items."),
            Port(name="gone", optional=True, help="Items whose keys are there no more."),
        ),
        outputs=(Port(name="out", help="The items."), Port(name="gone", help="The keys of items at `gone`.")),
        one_to_one=True,
        icon="shuffle",
        example="by-customer: {type: repartition, key: customer, partition_count: 8}",
    )
    key: Expression | None = param(
        default=None,
        help="What decides the partition: text, bytes, a number, a bool or a time. With another `partition_by` it may "
        "be left out: items keep their key.",
    )
    gone_key: Expression | None = param(default=None, help="The key of items at `gone`. Left out: as `key`.")
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
        check_port_keys(ctx, self._params(), self)
        check_spread(ctx, self, self.partition_count, count="partition_count")
        return {"out": ctx.inputs["in"], "gone": record_of({"key": BYTES})}

    def operator(self, ctx: BuildContext) -> Operator:
        keys = port_keys(ctx, self._params(), self)
        return RepartitionOperator(keys.get("in"), keys.get("gone"), placement(ctx, self), ctx.outputs["out"])

    def _params(self) -> dict[str, str]:
        params = {"in": "key", "gone": first_given(self, ("gone_key", "key"))}
        return {port: name for port, name in params.items() if getattr(self, name) is not None}

    def spread_over(self) -> int | None:
        return self.partition_count or len(self.weights) or None
