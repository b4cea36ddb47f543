"""aggregate: the items of an execution become one, or one for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.policies import Extent
from streamflow.model.types import Field, Type
from streamflow.nodes.aggregations import ROW_BY_ROW, Aggregation, aggregated, expressions_of, fold_of
from streamflow.nodes.checks import COLLISION, CONTRADICTION, check_key, check_names
from streamflow.operators.aggregates import Aggregate
from streamflow.operators.aggregating import AggregateOperator, FoldedAggregate, Groups
from streamflow.operators.errors import label
from streamflow.operators.folds import Fold
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator

_COLLECT = Aggregation(function="collect", of=Expression("item"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateNode(Node):
    """Compute values over all items of an execution, for all of them or for each group.

    Nulls are left out of everything but first, last and collect; sum, mean, min and max of nothing are null. Groups
    come in the order in which their first items came. Without `fields` the items themselves are collected into one
    list. An execution of which no item gets here gives nothing.
    """

    spec: ClassVar = NodeSpec(
        kind="aggregate",
        category="transform",
        stores=(Store(name="rows", help="State of executions that have not ended."),),
        whole_set=True,
        needs=("@execution", "@path"),
        icon="sigma",
        example="by-carrier: {type: aggregate, by: {carrier: carrier}, "
        "fields: {flights: {function: count}, delay: {function: mean, of: arr_delay}}}",
    )
    by: Mapping[str, Expression] | None = param(
        default=None, help="What makes a group, by field name. Left out: all items are one."
    )
    fields: Mapping[str, Aggregation] | None = param(default=None, help="What is computed, by field name.")
    into: str = param(default="items", help="Field of the list when there are no `fields`.", min_length=1)

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if extent != "item" else ()

    def gives_several(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_names(ctx, self._by, param="by")
        check_names(ctx, self._fields, param="fields")
        fields: list[Field] = []
        for name, expression in self._by.items():
            check_key(ctx, expression, param=f"by.{name}")
            fields.append(Field(name=name, type=ctx.typeof(expression, param=f"by.{name}")))
        for name, aggregation in self._fields.items():
            if name in self._by:
                ctx.report(COLLISION, f"{name!r} is in `by` and in `fields`.", param=f"fields.{name}")
            if aggregation.function in ROW_BY_ROW:
                mend = "Use window, or collect and an expression on the list."
                message = f"{aggregation.function} is a function of windows."
                ctx.report(CONTRADICTION, message, param=f"fields.{name}.function", mend=mend)
                return {}
            found = aggregated(ctx, name, aggregation)
            if found is None:
                return {}
            fields.append(Field(name=name, type=found))
        return {"out": Type(kind="record", fields=tuple(fields))}

    def operator(self, ctx: BuildContext) -> Operator:
        expressions: dict[str, Expression] = {}
        labels: dict[str, str] = {}
        for at, (name, expression) in enumerate(self._by.items()):
            expressions[f"@:b{at}"], labels[f"@:b{at}"] = expression, label(f"by.{name}", expression)
        of_fields, their_labels = expressions_of(self._fields)
        expressions, labels = expressions | of_fields, labels | their_labels
        projection = ctx.projection(expressions) if expressions else None
        out, types = ctx.outputs["out"], projection.types if projection is not None else {}
        folds = [fold_of(at, name, one, types, out) for at, (name, one) in enumerate(self._fields.items())]
        aggregates = tuple(
            Aggregate(f.field, f.name, f.column, f.of, f.type, f.separator)
            if isinstance(f, Fold)
            else FoldedAggregate(f, self._fields[f.field].function)
            for f in folds
        )
        groups = Groups({f"@:b{at}": name for at, name in enumerate(self._by)}, aggregates)
        return AggregateOperator(groups, projection, labels, ctx.inputs["in"], out, ctx.extent != "item")

    @property
    def _by(self) -> Mapping[str, Expression]:
        return self.by or {}

    @property
    def _fields(self) -> Mapping[str, Aggregation]:
        return self.fields if self.fields else {self.into: _COLLECT}
