"""What the compiler puts in the place of a `lookup` that looks into a global table; no document can name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.expressions import typecheck
from streamflow.nodes.checks import CONTRADICTION
from streamflow.nodes.lookup_params import LookupBase
from streamflow.nodes.tables import check_port_keys
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import NodeSpec, Port, SchemaContext, Schemas, param


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalLookup(LookupBase):
    """Give each item the fields of the row that has its key in a table of which each task has the whole."""

    spec: ClassVar = NodeSpec(
        kind="lookup.global",
        category="keyed",
        inputs=(
            Port(name="in", help="Items that look a row up."),
            Port(name="table", optional=True, help="Never fed: the task reads the table by itself."),
        ),
        outputs=(Port(name="out"),),
        icon="search",
    )
    global_key: str = param(help="The key of the table, an expression over its rows.")  # evaluated there, not here

    def gives_several(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.table_key is not None and self.table_key.text != self.global_key:
            ctx.report(
                CONTRADICTION,
                f"the table is kept by `{self.global_key}`, and cannot be looked into by `{self.table_key.text}`.",
                param="table_key",
                mend="Leave `table_key` out, or set it as `key` of the table.",
            )
        return super(GlobalLookup, self).output_schemas(ctx)

    def check_keys(self, ctx: SchemaContext) -> None:
        key = Expression(self.global_key)
        kind, findings = typecheck(key, Scope(item=ctx.inputs["table"], vars=ctx.vars))
        # What else the key may name is known where the table is: then nothing is compared.
        first = None if findings else (key, kind, "table")
        check_port_keys(ctx, self.key_params(), self, first=first)

    def key_params(self) -> dict[str, str]:
        return {"in": "key"}
