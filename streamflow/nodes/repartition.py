"""repartition: moves items to the partition of a key, through a topic of the workflow's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from streamflow.model.batch import GONE, KEY, Batch
from streamflow.model.types import BYTES, Schema, frame_schema, record_of
from streamflow.nodes.tables import check_port_keys, first_given, port_keys
from streamflow.operators.errors import join_failed
from streamflow.operators.records import in_turn
from streamflow.operators.table_rows import PortKey
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class RepartitionOperator:
    """Sets `@key`; the topic behind it does the rest. Of deletions only the key goes on, also as `@gone`."""

    key: PortKey
    gone: PortKey | None
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
            batch, keys, failed = self.key.names(inputs["in"])
            made.append(batch.with_frame(batch.frame.with_columns(keys.alias(KEY))))
            failures.append(failed)
        records = in_turn(made, deletions=self.gone is not None)
        return Result(outputs={"records": records}, failed=join_failed(failures), filtered=filtered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition(Node):
    """Bring items with the same key together: all go through one partition, in order, to one task.

    The bytes of a key are: text as UTF-8, whole numbers as decimal text, bools as `true` and `false`, timestamps as the
    number of their unit since 1970, dates as ISO 8601, bytes as they are. Items with a null key are spread over the
    partitions. Nodes that need it get a repartition by themselves.

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
    key: Expression = param(help="What decides the partition: text, bytes, a number, a bool or a time.")
    gone_key: Expression | None = param(default=None, help="The key of items at `gone`. Left out: as `key`.")
    partition_count: int | None = param(
        default=None, ge=1, le=10_000, help="Number of partitions. Left out: as many as the stage before has."
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_port_keys(ctx, self._params(), self)
        return {"out": ctx.inputs["in"], "gone": record_of({"key": BYTES})}

    def operator(self, ctx: BuildContext) -> Operator:
        keys = port_keys(ctx, self._params(), self)
        return RepartitionOperator(keys["in"], keys.get("gone"), ctx.outputs["out"])

    def _params(self) -> dict[str, str]:
        return {"in": "key", "gone": first_given(self, ("gone_key", "key"))}

    def partitions(self) -> int | None:
        return self.partition_count
