"""limit: the first so many items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.policies import Extent
from streamflow.operators.limiting import LimitOperator
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Node):
    """Let the first items of each execution through, or the first of the whole stream; the others end here."""

    spec: ClassVar = NodeSpec(
        kind="limit",
        category="transform",
        stores=(Store(name="counts", help="How many items were seen."),),
        can_fail=False,
        whole_set=True,
        whole_set_mend="`scope: stream`",
        needs=("@execution",),
        icon="list-end",
        example="top: {type: limit, count: 10}",
    )
    count: int = param(help="How many items pass.", ge=0)
    offset: int = param(default=0, help="How many are left out before.", ge=0)
    scope: Literal["execution", "stream"] = param(
        default="execution",
        help="Whether items are counted in each execution, or over all that a partition brings.",
    )

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if extent != "item" or self.scope == "stream" else ()

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return self.spec.needs if self.scope == "execution" else ()

    def acts_on_executions(self) -> bool:
        return self.scope == "execution"

    def gives_several(self) -> bool:
        return False

    def scatters_executions(self) -> bool:
        return False  # rows pass at once, or never

    def makes_new_items(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return LimitOperator(self.count, self.offset, self.scope, ctx.extent != "item")
