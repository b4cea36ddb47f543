"""filter: keeps the items for which a condition holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import Batch
from streamflow.nodes.checks import check_condition
from streamflow.operators.errors import evaluate, label
from streamflow.operators.masks import condition
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class FilterOperator:
    """Rows where the condition is true go on, the others are filtered."""

    when: Projection
    labels: Mapping[str, str]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.when, self.labels)
        mask = condition(values.to_series(0))
        kept = int(mask.sum())
        if kept == len(batch):
            return Result(outputs={"out": batch}, failed=failed)
        return Result(outputs={"out": batch.where(mask)}, failed=failed, filtered=len(batch) - kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Node):
    """Keep the items for which a condition holds; the others end here. A condition that is null counts as false."""

    spec: ClassVar = NodeSpec(
        kind="filter",
        category="condition",
        icon="filter",
        example='european: {type: filter, when: \'country in ["DE", "FR"]\'}',
    )
    when: Expression = param(help="The condition of type bool that an item must meet to go on.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_condition(ctx, self.when, param="when")
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        return FilterOperator(ctx.projection({"when": self.when}), {"when": label("when", self.when)})
