"""pass: stands in a topology where a workflow has a disabled node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.nodes.no_op import PassOperator
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Node):
    """What the compiler puts in place of a disabled node: items go through unchanged.

    Write `disabled: true` on the node instead of using this kind yourself.
    """

    spec: ClassVar = NodeSpec(
        kind="pass",
        category="control",
        can_fail=False,
        one_to_one=True,
        icon="circle-dashed",
        example="resting: {type: pass}",
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return PassOperator()
