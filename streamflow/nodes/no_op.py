"""no-op: hands its items on. A place to draw connections to, and what a disabled node becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import Batch
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas
from streamflow.sdk.operator import Context, Operator, Result


class PassOperator:
    """Every row goes from `in` to `out` untouched."""

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        return Result(outputs={"out": inputs["in"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOp(Node):
    """Pass items on unchanged. Useful as a named meeting point of several connections."""

    spec: ClassVar = NodeSpec(
        kind="no-op",
        category="control",
        can_fail=False,
        one_to_one=True,
        icon="circle",
        example="together: {type: no-op}",
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return PassOperator()
