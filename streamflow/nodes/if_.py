"""if: two ways for items. The commonest node, so its kernel makes one mask and copies nothing when all go one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import Batch
from streamflow.nodes.checks import check_condition
from streamflow.operators.errors import evaluate, label
from streamflow.operators.masks import condition
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result


@dataclass(frozen=True, slots=True)
class IfOperator:
    """Rows where the condition is true to `true`, the others to `false`."""

    when: Projection
    labels: Mapping[str, str]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failed = evaluate(inputs["in"], self.when, self.labels)
        mask = condition(values.to_series(0))
        true = mask.sum()
        if true == len(mask):
            return Result(outputs={"true": batch}, failed=failed)
        if true == 0:
            return Result(outputs={"false": batch}, failed=failed)
        return Result(outputs={"true": batch.where(mask), "false": batch.where(~mask)}, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Node):
    """Send each item to `true` or to `false`, by a condition. A condition that is null counts as false."""

    spec: ClassVar = NodeSpec(
        kind="if",
        category="condition",
        outputs=(
            Port(name="true", help="Items for which the condition holds."),
            Port(name="false", help="All others, also where the condition is null."),
        ),
        one_to_one=True,
        icon="split",
        example='large: {type: if, when: \'amount * qty > 500 and country in ["DE", "FR"]\'}',
    )
    when: Expression = param(help="The condition, of type bool.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_condition(ctx, self.when, param="when")
        return {"true": ctx.inputs["in"], "false": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        return IfOperator(ctx.projection({"when": self.when}), {"when": label("when", self.when)})
