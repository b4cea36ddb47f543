"""The parts of a `table_join` by foreign key. The compiler puts them in its place; no document can name them.

rows      left rows by their key: what a change was and is, sent to where the foreign key is
matches   both sides by the foreign key: left rows with their right row
(result)  joined rows by the left key again, the newest version of each
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from streamflow.expressions import typecheck
from streamflow.model.batch import KEY, TS, WM
from streamflow.model.types import BOOL, BYTES, LONG, record_of
from streamflow.nodes.checks import COLLISION, CONTRADICTION, check_key
from streamflow.nodes.table_join_params import TableJoinBase
from streamflow.nodes.tables import (
    check_port_keys,
    check_records,
    check_taken,
    port_keys,
    side_by_side,
    taken_fields,
)
from streamflow.operators.errors import label
from streamflow.operators.foreign_matches import LEFT, RIGHT, ForeignMatchesOperator
from streamflow.operators.foreign_result import STORE as RESULT
from streamflow.operators.foreign_result import ForeignResultOperator
from streamflow.operators.foreign_rows import (
    DELETED,
    FOREIGN,
    KEPT_KEY,
    MESSAGE,
    NUMBERS,
    STORE,
    VERSION,
    ForeignRowsOperator,
    with_fields,
)
from streamflow.operators.table_rows import PortKey, TableState
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import BuildContext, NodeSpec, Parts, Port, SchemaContext, Schemas, Store
from streamflow.sdk.operator import Operator

_MEETING = Expression(f"coalesce({FOREIGN}, {KEPT_KEY})")  # rows that name nothing stay with their own key
_ANSWER = {KEPT_KEY: BYTES, VERSION: LONG, DELETED: BOOL}


def foreign_parts(node: TableJoinBase) -> Parts:
    """The parts of a join by foreign key, with its parameters."""
    params: dict[str, Any] = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    return Parts(
        nodes={"rows": ForeignRows(**params), "matches": ForeignMatches(**params), "": ForeignResult(**params)},
        inputs={
            "left": ("rows", "left"),
            "left_gone": ("rows", "left_gone"),
            "right": ("matches", "right"),
            "right_gone": ("matches", "right_gone"),
        },
        wires=(("rows", "out", "matches", "left"), ("matches", "out", "", "in")),
        failing="rows",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRows(TableJoinBase):
    """Left rows by their key."""

    spec: ClassVar = NodeSpec(
        kind="table_join.rows",
        category="keyed",
        inputs=(
            Port(name="left", keyed=True),
            Port(name="left_gone", keyed=True, optional=True, beside="left"),
        ),
        outputs=(Port(name="out"),),
        stores=(
            Store(name=STORE, help="The latest row of each key of the left table."),
            Store(name=NUMBERS, help="How many changes there were."),
        ),
        needs=(KEY, TS, WM),
    )

    def gives_several(self) -> bool:
        return True

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "left" not in ctx.inputs:
            return {}
        check_port_keys(ctx, self.key_params("left"), self)
        check_key(ctx, self.foreign_key, param="foreign_key", port="left")
        if self.join == "outer":
            ctx.report(
                CONTRADICTION,
                "a join by foreign key has one row for each left key, and none for right rows alone.",
                param="join",
                mend="Set `join: left` or `join: inner`.",
            )
        if not check_records(ctx, ("left",)):
            return {}
        for f in ctx.inputs["left"].fields:
            if f.name in MESSAGE:
                ctx.report(COLLISION, f"{f.name!r} is a field that this node adds.", mend="Rename it before this node.")
        return {"out": with_fields(ctx.inputs["left"], MESSAGE)}

    def operator(self, ctx: BuildContext) -> Operator:
        assert self.foreign_key is not None
        left = ctx.inputs["left"]
        foreign = PortKey(
            ctx.projection({"key": self.foreign_key}, port="left"), label("foreign_key", self.foreign_key)
        )
        kept = with_fields(left, {FOREIGN: MESSAGE[FOREIGN], VERSION: LONG})
        keys = port_keys(ctx, self.key_params("left_gone", "left"), self)
        return ForeignRowsOperator(keys, foreign, TableState(kept, STORE), ctx.outputs["out"], self.join == "inner")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMatches(TableJoinBase):
    """Both sides by the foreign key."""

    spec: ClassVar = NodeSpec(
        kind="table_join.matches",
        category="keyed",
        inputs=(
            Port(name="left", keyed=True),
            Port(name="right", keyed=True),
            Port(name="right_gone", keyed=True, optional=True, beside="right"),
        ),
        outputs=(Port(name="out"),),
        stores=(
            Store(name=LEFT, help="Left rows by their foreign key."),
            Store(name=RIGHT, help="The latest row of each key of the right table."),
        ),
        needs=(KEY, TS, WM),
    )

    def port_key(self, port: str) -> Expression | None:
        return _MEETING if port == "left" else TableJoinBase.port_key(self, port)

    def gives_several(self) -> bool:
        return True

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "left" not in ctx.inputs or "right" not in ctx.inputs:
            return {}
        assert self.foreign_key is not None
        kind, _ = typecheck(self.foreign_key, Scope(item=ctx.inputs["left"], vars=ctx.vars))  # reported where rows are
        check_port_keys(ctx, self.key_params("right"), self, first=(self.foreign_key, kind, "left"))
        if not check_records(ctx, ("right",)):
            return {}
        right = ctx.inputs["right"]
        check_taken(ctx, right, (), self.prefix, param="prefix")
        left = {f.name: f.name for f in ctx.inputs["left"].fields if f.name not in MESSAGE}
        sides = (
            (ctx.inputs["left"], left, False),
            (right, taken_fields(right, self.prefix), self.join == "left"),
        )
        joined = side_by_side(ctx, sides, mend="Set `prefix`.")
        return {"out": with_fields(joined, _ANSWER)}

    def operator(self, ctx: BuildContext) -> Operator:
        right = ctx.inputs["right"]
        keys = port_keys(ctx, self.key_params("right_gone", "right"), self)
        by_foreign = PortKey(ctx.projection({"key": Expression(FOREIGN)}, port="left"), "foreign_key")
        return ForeignMatchesOperator(
            {"left": by_foreign, **keys},
            ctx.inputs["left"],
            TableState(right, RIGHT),
            taken_fields(right, self.prefix),
            ctx.outputs["out"],
            self.join == "left",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignResult(TableJoinBase):
    """Joined rows by the left key."""

    spec: ClassVar = NodeSpec(
        kind="table_join.result",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        outputs=(Port(name="out"), Port(name="gone")),
        stores=(Store(name=RESULT, help="The joined row of each left key."),),
        needs=(KEY, TS, WM),
    )

    def port_key(self, port: str) -> Expression | None:
        return Expression(KEPT_KEY)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        fields = {f.name: f.type for f in ctx.inputs["in"].fields if f.name not in _ANSWER}
        made = record_of(fields)
        return {"out": made, "gone": made}

    def operator(self, ctx: BuildContext) -> Operator:
        key = PortKey(ctx.projection({"key": Expression(KEPT_KEY)}), KEPT_KEY)
        kept = with_fields(ctx.outputs["out"], {VERSION: LONG})
        return ForeignResultOperator(key, TableState(kept, RESULT), ctx.outputs["out"])
