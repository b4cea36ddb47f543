"""sort: items in another order, within an execution or within each so many items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.policies import Extent
from streamflow.nodes.checks import WRONG_TYPE
from streamflow.operators.errors import evaluate, label
from streamflow.operators.execution_rows import in_order
from streamflow.operators.whole_set import CountedSet, WholeSet
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator

_SORTABLE = frozenset(
    ("bool", "int", "long", "float", "double", "string", "bytes", "fixed", "enum", "uuid", "date", "time", "timestamp",
     "local", "decimal", "null")
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    """One thing to sort by."""

    value: Expression = param(help="What is compared.")
    descending: bool = param(default=False, help="Greatest first.")
    nulls: Literal["first", "last"] = param(default="last", help="Where items without a value come.")


@dataclass(frozen=True, slots=True)
class SortWhole:
    """Keys are computed as rows arrive, so that those that fail do so at once; sorting is stable."""

    keys: Projection
    labels: Mapping[str, str]
    descending: tuple[bool, ...]
    nulls_last: tuple[bool, ...]

    def prepare(self, batch: Batch) -> tuple[Batch, Batch | None]:
        batch, values, failed = evaluate(batch, self.keys, self.labels)
        return batch.with_frame(batch.frame.with_columns(values.get_columns())), failed

    def finish(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = list(self.labels)
        rows = rows.sort(names, descending=list(self.descending), nulls_last=list(self.nulls_last), maintain_order=True)
        return in_order(rows.drop(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort(Node):
    """Put the items of an execution in order. Equal items keep theirs; NaN is the greatest number.

    With `count` each so many items of the stream are sorted, whatever execution they belong to.
    """

    spec: ClassVar = NodeSpec(
        kind="sort",
        category="transform",
        stores=(Store(name="rows", help="Items of executions that have not ended."),),
        whole_set=True,
        whole_set_mend="a `count`",
        needs=("@execution", "@path"),
        icon="arrow-down-a-z",
        example="ranked: {type: sort, by: [{value: amount, descending: true}, {value: id}]}",
    )
    by: tuple[SortKey, ...] = param(help="What to sort by, the most important first.", min_length=1)
    count: int | None = param(
        default=None, ge=2, le=1_000_000, help="Sort each so many items of a partition. Left out: each execution."
    )

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if extent != "item" or self.count is not None else ()

    def acts_on_executions(self) -> bool:
        return self.count is None

    def gives_several(self) -> bool:
        return False

    def makes_new_items(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        for at, key in enumerate(self.by):
            kind = ctx.typeof(key.value, param=f"by[{at}].value")
            if kind.kind not in _SORTABLE:
                ctx.report(
                    WRONG_TYPE,
                    f"`{key.value.text}` is {kind}, which has no order.",
                    param=f"by[{at}].value",
                    mend="Convert it with long(), double() or string().",
                )
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        keys = {f"@:{at}": key.value for at, key in enumerate(self.by)}
        labels = {n: label(f"by[{at}].value", e) for at, (n, e) in enumerate(keys.items())}
        whole = SortWhole(
            ctx.projection(keys),
            labels,
            tuple(k.descending for k in self.by),
            tuple(k.nulls == "last" for k in self.by),
        )
        if self.count is not None:
            return CountedSet(whole, ctx.inputs["in"], self.count)
        return WholeSet(whole, ctx.inputs["in"], ctx.inputs["in"], ctx.extent != "item")
