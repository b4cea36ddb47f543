"""What the compiler puts in the place of a `lookup` that looks into a global table; no document can name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.nodes.checks import CONTRADICTION
from streamflow.nodes.lookup_params import LookupBase
from streamflow.sdk.expression import Expression
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
    global_key: Expression = param(help="The key of the table.")

    def gives_several(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.table_key is not None and self.table_key.text != self.global_key.text:
            ctx.report(
                CONTRADICTION,
                f"the table is kept by `{self.global_key.text}`, and cannot be looked into by `{self.table_key.text}`.",
                param="table_key",
                mend="Leave `table_key` out, or set it as `key` of the table.",
            )
        return super(GlobalLookup, self).output_schemas(ctx)

    def key_params(self) -> dict[str, str]:
        return {"table": "global_key", "in": "key"}

    def fed_params(self) -> dict[str, str]:
        return {"in": "key"}
