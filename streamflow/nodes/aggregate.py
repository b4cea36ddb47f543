"""aggregate: the items of an execution become one, or one for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.policies import Extent
from streamflow.model.types import Field, Type
from streamflow.nodes.checks import COLLISION, WRONG_TYPE, check_key, check_names
from streamflow.operators.aggregates import Aggregate, Name, result_type
from streamflow.operators.aggregating import AggregateOperator, Groups
from streamflow.operators.errors import label
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """A function, and what it is computed of."""

    function: Name = param(
        help="count (items, or values of `of`), sum, mean, min, max, first, last, collect (a list), count_distinct, "
        "or join (one text)."
    )
    of: Expression | None = param(default=None, help="The value of each item. Only count can do without.")
    separator: str = param(default=", ", help="join: what stands between the texts.")


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
            of = ctx.typeof(aggregation.of, param=f"fields.{name}.of") if aggregation.of is not None else None
            found = result_type(aggregation.function, of)
            if isinstance(found, str):
                ctx.report(
                    WRONG_TYPE,
                    f"{found}.",
                    param=f"fields.{name}",
                    mend="Convert untyped values with long(), double() or string()." if of is not None else "",
                )
                return {}
            fields.append(Field(name=name, type=found))
        return {"out": Type(kind="record", fields=tuple(fields))}

    def operator(self, ctx: BuildContext) -> Operator:
        expressions: dict[str, Expression] = {}
        labels: dict[str, str] = {}
        for at, (name, expression) in enumerate(self._by.items()):
            expressions[f"@:b{at}"], labels[f"@:b{at}"] = expression, label(f"by.{name}", expression)
        for at, (name, aggregation) in enumerate(self._fields.items()):
            if aggregation.of is not None:
                expressions[f"@:v{at}"] = aggregation.of
                labels[f"@:v{at}"] = label(f"fields.{name}.of", aggregation.of)
        projection = ctx.projection(expressions) if expressions else None
        out, aggregates = ctx.outputs["out"], []
        for at, (name, aggregation) in enumerate(self._fields.items()):
            column = f"@:v{at}" if aggregation.of is not None else None
            of = projection.types[column] if projection is not None and column is not None else None
            made = out.field(name)
            assert made is not None
            aggregates.append(Aggregate(name, aggregation.function, column, of, made.type, aggregation.separator))
        groups = Groups({f"@:b{at}": name for at, name in enumerate(self._by)}, tuple(aggregates))
        return AggregateOperator(groups, projection, labels, ctx.inputs["in"], out, ctx.extent != "item")

    @property
    def _by(self) -> Mapping[str, Expression]:
        return self.by or {}

    @property
    def _fields(self) -> Mapping[str, Aggregation]:
        return self.fields if self.fields else {self.into: _COLLECT}
