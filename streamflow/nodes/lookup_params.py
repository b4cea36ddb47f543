"""Parameters of lookups: of those that are fed a table's changes, and of those that look into a global table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streamflow.model.types import Schema
from streamflow.nodes.tables import check_port_keys, check_records, check_taken, port_keys, side_by_side, taken_fields
from streamflow.operators.table_lookup import STORE, LookupOperator
from streamflow.operators.table_rows import TableState
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, SchemaContext, Schemas, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupBase(Node):
    """What all of them are told, and what they make of it."""

    key: Expression = param(help="What an item looks up: text, bytes, a number, a bool or a time.")
    table_key: Expression | None = param(
        default=None, help="The key of a row of the table. Left out: as `key`; that of the table, where it is global."
    )
    gone_key: Expression | None = param(
        default=None, help="The key of items at `gone`. Left out: as that of the table."
    )
    join: Literal["inner", "left"] = param(default="inner", help="left: items stay also when the table has no row.")
    fields: tuple[str, ...] = param(default=(), help="Fields of the table to take. Left out: all.")
    prefix: str = param(default="", help="Put before the names of the table's fields.")

    def scatters_executions(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs or "table" not in ctx.inputs:
            return {}
        self.check_keys(ctx)
        if not check_records(ctx, ("in", "table")):
            return {}
        table, stream = ctx.inputs["table"], ctx.inputs["in"]
        check_taken(ctx, table, self.fields, self.prefix, param="fields")
        names = {f.name: f.name for f in stream.fields}
        mend = "Set `prefix`, or name in `fields` what to take of the table."
        sides = ((stream, names, False), (table, self.taken(table), self.join == "left"))
        return {"out": side_by_side(ctx, sides, mend=mend)}

    def operator(self, ctx: BuildContext) -> Operator:
        table = ctx.inputs["table"]
        keys = port_keys(ctx, self.key_params(), self)
        return LookupOperator(
            keys, TableState(table, STORE), self.taken(table), ctx.outputs["out"], self.join == "left"
        )

    def taken(self, table: Schema) -> Mapping[str, str]:
        """Fields of the table, and what they are called in the result."""
        return taken_fields(table, self.prefix, self.fields)

    def check_keys(self, ctx: SchemaContext) -> None:
        """Keys of all sides are scalars that can be equal."""
        check_port_keys(ctx, self.key_params(), self)

    def key_params(self) -> dict[str, str]:
        """The parameter that holds the key, by port that is fed, in the order of changes at one place."""
        raise NotImplementedError
