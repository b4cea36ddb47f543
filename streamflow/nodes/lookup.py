"""lookup: items of a stream with what a table knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.batch import KEY, TS, WM
from streamflow.nodes.tables import (
    check_port_keys,
    check_records,
    check_taken,
    first_given,
    port_keys,
    side_by_side,
    taken_fields,
)
from streamflow.operators.table_lookup import STORE, LookupOperator
from streamflow.operators.table_rows import TableState
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Node):
    """Give each item the fields of the table's row that has its key at that moment.

    The table comes in as changes: items at `table` replace the row with their key, items at `gone` take it away. They
    give nothing; only items at `in` do, one each. An item finds the changes whose event times lie before its own; of
    those with one time, input by input, and of what arrives as one, the table changes first. A change that comes later
    changes nothing about items that have gone.

    inner: items without a row are filtered. left: they stay, with nulls. An item with a null key has no row. Changes
    with a null key are filtered.
    """

    spec: ClassVar = NodeSpec(
        kind="lookup",
        category="keyed",
        inputs=(
            Port(name="in", keyed=True, help="Items that look a row up."),
            Port(name="table", keyed=True, help="Rows of the table that are there from now on."),
            Port(
                name="gone",
                keyed=True,
                optional=True,
                beside="table",
                help="Items whose keys are not there any more.",
            ),
        ),
        outputs=(Port(name="out"),),
        stores=(Store(name=STORE, help="The latest row of each key of the table."),),
        needs=(KEY, TS, WM),
        icon="search",
        example="named: {type: lookup, key: carrier, table_key: code, prefix: carrier_, join: left}",
    )
    key: Expression = param(help="What an item looks up: text, bytes, a number, a bool or a time.")
    table_key: Expression | None = param(default=None, help="The key of a row of the table. Left out: as `key`.")
    gone_key: Expression | None = param(
        default=None, help="The key of items at `gone`. Left out: as that of the table."
    )
    join: Literal["inner", "left"] = param(default="inner", help="left: items stay also when the table has no row.")
    fields: tuple[str, ...] = param(default=(), help="Fields of the table to take. Left out: all.")
    prefix: str = param(default="", help="Put before the names of the table's fields.")

    def port_key(self, port: str) -> Expression | None:
        found: Expression = getattr(self, self._params()[port])
        return found

    def scatters_executions(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs or "table" not in ctx.inputs:
            return {}
        check_port_keys(ctx, self._params(), self)
        if not check_records(ctx, ("in", "table")):
            return {}
        table, stream = ctx.inputs["table"], ctx.inputs["in"]
        check_taken(ctx, table, self.fields, self.prefix, param="fields")
        names = {f.name: f.name for f in stream.fields}
        taken = taken_fields(table, self.prefix, self.fields)
        mend = "Set `prefix`, or name in `fields` what to take of the table."
        sides = ((stream, names, False), (table, taken, self.join == "left"))
        return {"out": side_by_side(ctx, sides, mend=mend)}

    def operator(self, ctx: BuildContext) -> Operator:
        table = ctx.inputs["table"]
        return LookupOperator(
            port_keys(ctx, self._params(), self),
            TableState(table, STORE),
            taken_fields(table, self.prefix, self.fields),
            ctx.outputs["out"],
            self.join == "left",
        )

    def _params(self) -> dict[str, str]:
        """The parameter that holds the key, by port, in the order of changes at one place."""
        return {
            "gone": first_given(self, ("gone_key", "table_key", "key")),
            "table": first_given(self, ("table_key", "key")),
            "in": "key",
        }
