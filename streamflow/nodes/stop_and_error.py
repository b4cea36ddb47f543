"""stop-and-error: an item that gets here stops the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import Batch
from streamflow.nodes.checks import check_condition, check_template
from streamflow.nodes.sequence import as_text
from streamflow.operators.errors import evaluate, fail, join_failed, label
from streamflow.operators.masks import condition
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Template, param
from streamflow.sdk.operator import Context, Operator, Result

STOPPED = "stopped"  # the item code that halts a workflow whatever the node's policy says


@dataclass(frozen=True, slots=True)
class StopOperator:
    """Rows that meet the condition fail with code `stopped` and the message; others go on."""

    when: Projection | None
    message: Projection
    labels: Mapping[str, str]

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, unclear, rest = inputs["in"], None, None
        if self.when is not None:
            batch, values, unclear = evaluate(batch, self.when, self.labels)
            mask = condition(values.to_series(0))
            batch, rest = batch.where(mask), batch.where(~mask)
        stopped = None
        if len(batch):
            # A message that cannot be made stops the workflow all the same.
            said = self.message.run(batch.frame).values.to_series(0).fill_null("stopped by an item")
            stopped = fail(batch, STOPPED, said)
        outputs = {"out": rest} if rest is not None and len(rest) else {}
        return Result(outputs=outputs, failed=join_failed([unclear, stopped]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAndError(Node):
    """Stop the workflow when an item gets here: everything before the item is committed, nothing after it.

    With `when` only items that meet it stop the workflow; the others go on.
    """

    spec: ClassVar = NodeSpec(
        kind="stop-and-error",
        category="control",
        one_to_one=True,
        icon="octagon-x",
        example='broken: {type: stop-and-error, message: "order {{ id }} has no customer", when: customer == ""}',
    )
    message: Template = param(help="What is said: text with `{{ expression }}` inside.", multiline=True)
    when: Expression | None = param(default=None, help="Stop only for items that meet this. Left out: for any item.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.when is not None:
            check_condition(ctx, self.when, param="when")
        check_template(ctx, self.message, param="message")
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        when = ctx.projection({"when": self.when}) if self.when is not None else None
        labels = {"when": label("when", self.when)} if self.when is not None else {}
        message = ctx.projection({"message": as_text(ctx.template(self.message))})
        return StopOperator(when, message, labels)
