"""batch: items into lists, for what works better on many at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, LONG, Schema, array_of, record_of
from streamflow.nodes.checks import UNBOUNDED, WRONG_TYPE
from streamflow.operators.batching import BatchOperator
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNode(Node):
    """Gather items into one item `{items, count, index}`.

    In scope execution the last list of an execution may be shorter. In scope stream lists go across executions and
    wait until they are full; each task (partition) fills its own.
    """

    spec: ClassVar = NodeSpec(
        kind="batch",
        category="split",
        outputs=(Port(name="out", help="One item for each list."),),
        stores=(
            Store(name="rows", help="Items of lists that are not full."),
            Store(name="counts", help="How many lists were made."),
        ),
        can_fail=False,
        whole_set=True,
        whole_set_mend="`scope: stream` and a size",
        needs=("@execution", "@path"),
        icon="package",
        example="hundreds: {type: batch, size: 100, scope: stream}",
    )
    size: int | None = param(default=None, ge=1, le=100_000, help="Items of a list. Left out: all of an execution.")
    scope: Literal["execution", "stream"] = param(default="execution", help="What a list may span.")

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if extent != "item" or self.scope == "stream" else ()

    def acts_on_executions(self) -> bool:
        return self.scope == "execution"

    def gives_several(self) -> bool:
        return False

    def scatters_executions(self) -> bool:
        return False  # a list belongs to the execution of the row that fills it, and leaves with that row

    def makes_new_items(self) -> bool:
        return True

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.scope == "stream" and self.size is None:
            ctx.report(UNBOUNDED, "a stream does not end: its lists need a size.", param="scope", mend="Set size.")
        source = ctx.inputs["in"]
        if source.kind not in ("record", "any", "bytes"):
            ctx.report(WRONG_TYPE, f"items are {source}.", param="")
        return {"out": batch_schema(source)}

    def operator(self, ctx: BuildContext) -> Operator:
        return BatchOperator(
            self.size, self.scope == "stream", ctx.extent != "item", ctx.inputs["in"], ctx.outputs["out"]
        )


def batch_schema(source: Schema) -> Schema:
    """Schema of a list of items."""
    element = ANY if source.kind == "any" else replace(source, nullable=False)
    return record_of({"items": array_of(element), "count": LONG, "index": LONG})
