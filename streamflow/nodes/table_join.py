"""table_join: two tables become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import KEY, TS, WM
from streamflow.model.types import Schema
from streamflow.nodes.foreign_join import foreign_parts
from streamflow.nodes.table_join_params import TableJoinBase
from streamflow.nodes.tables import (
    check_port_keys,
    check_records,
    check_taken,
    port_keys,
    side_by_side,
    taken_fields,
)
from streamflow.operators.table_joins import TableJoinOperator
from streamflow.operators.table_rows import TableState
from streamflow.sdk.node import BuildContext, NodeSpec, Parts, Port, SchemaContext, Schemas, Store
from streamflow.sdk.operator import Operator

_GONE = "Items whose keys are no longer in the {} table."
_PORTS = ("left_gone", "left", "right_gone", "right")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJoin(TableJoinBase):
    """Join the rows of two tables that have the same key, and keep the result up to date.

    Both tables come in as changes: items at `left` and `right` replace the row of their side with their key, items at
    `left_gone` and `right_gone` take it away. The result is a table too: a change of either side gives the row that is
    there no more by `gone`, and then the new one by `out`. Its event time is the later one of the change and of the row
    on the other side.

    inner: a row where both sides have one. left: where the left side has one. outer: where either has. What is not
    there is null. The later item in order of arrival wins, whatever its event time. Items with a null key are filtered.

    With `foreign_key` a left row is joined with the right row whose key it names; many left rows may name the same one,
    and a change of a right row reaches all of them. The result has the left side's key. inner: left rows whose right
    row is there. left: all left rows. The work is done by three parts with topics between them (`streamflow plan` shows
    them): left rows by their key, both sides by the foreign key, and results by the left key again, which takes care
    that a row that goes over to another right row is gone there before it is new here, in whatever order two
    partitions are done.
    """

    spec: ClassVar = NodeSpec(
        kind="table_join",
        category="keyed",
        inputs=(
            Port(name="left", keyed=True, help="Rows of the left table that are there from now on."),
            Port(name="right", keyed=True, help="Rows of the right table that are there from now on."),
            Port(name="left_gone", keyed=True, optional=True, beside="left", help=_GONE.format("left")),
            Port(name="right_gone", keyed=True, optional=True, beside="right", help=_GONE.format("right")),
        ),
        outputs=(
            Port(name="out", help="Joined rows that are there now."),
            Port(name="gone", help="Joined rows that were replaced or taken away, as they were."),
        ),
        stores=(
            Store(name="left", help="The latest row of each key of the left table."),
            Store(name="right", help="The latest row of each key of the right table."),
        ),
        needs=(KEY, TS, WM),
        icon="merge",
        example="priced: {type: table_join, left_key: id, right_key: product, prefix: price_, join: left}",
    )

    def parts(self) -> Parts | None:
        return None if self.foreign_key is None else foreign_parts(self)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "left" not in ctx.inputs or "right" not in ctx.inputs:
            return {}
        check_port_keys(ctx, self.key_params(*_PORTS), self)
        if not check_records(ctx, ("left", "right")):
            return {}
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        check_taken(ctx, right, (), self.prefix, param="prefix")
        names = self._names(left, right)
        sides = (
            (left, names["left"], self.join == "outer"),
            (right, names["right"], self.join != "inner"),
        )
        made = side_by_side(ctx, sides, mend="Set `prefix`.")
        return {"out": made, "gone": made}

    def operator(self, ctx: BuildContext) -> Operator:
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        return TableJoinOperator(
            port_keys(ctx, self.key_params(*_PORTS), self),
            TableState(left, "left"),
            TableState(right, "right"),
            self._names(left, right),
            ctx.outputs["out"],
            self.join,
        )

    def _names(self, left: Schema, right: Schema) -> dict[str, dict[str, str]]:
        return {"left": taken_fields(left, ""), "right": taken_fields(right, self.prefix)}
