"""function and code: the user's Python on items or on frames. What it raises costs the item, never the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import polars as pl

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Schema, frame_schema, polars_dtype
from streamflow.nodes.checks import CONTRADICTION, UNREADABLE
from streamflow.operators.dtypes import record_of_dtypes
from streamflow.operators.functions import FrameFunction, ItemFunction, empty_frame, execution_function
from streamflow.sdk.errors import CodecError
from streamflow.sdk.node import (
    BuildContext,
    FunctionRef,
    Node,
    NodeSpec,
    Port,
    SchemaContext,
    SchemaRef,
    Schemas,
    Store,
    param,
)  # fmt: skip
from streamflow.sdk.operator import Operator

TIMEOUT_MS_MAX = 24 * 3_600_000
_HELP = "What the function returned, in the order of the items."


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Node):
    """Run a Python function.

    Mode item: the function gets one item as a dict and returns a dict (the new item), a list of dicts (several), or
    None (none). Mode frame: it gets a polars DataFrame of the fields, with a column `@row` that numbers the rows, and
    returns as many rows in the same order, or keeps `@row` to say which rows its rows come from (rows that it leaves
    out are filtered). With `scope: execution` it gets all items of an execution at once and returns any number of
    rows.

    An item for which the function raises fails with code `exception`. A frame is then halved until the failing rows are
    found; the others go on. So a function must not remember earlier calls: it may be called again for the same rows.

    With `timeout` each call has so much time, on a thread of its own. A call that is late fails its item with code
    `timed_out` (a frame is not halved: all of its rows fail), and what it returns later is dropped. Python cannot end
    it: it holds its thread until it returns, and what it does outside goes on. Eight may be held by a node of a task;
    as long as so many are, further items fail at once with code `calls_held`. A call that holds Python's interpreter
    lock cannot be timed.
    """

    spec: ClassVar = NodeSpec(
        kind="function",
        category="transform",
        outputs=(Port(name="out", help=_HELP),),
        stores=(Store(name="rows", help="Items of executions that have not ended; for `scope: execution` only."),),
        whole_set=True,
        whole_set_mend="`scope: rows`",
        needs=("@execution", "@path"),
        icon="function-square",
        example='upper: {type: function, function: "mypackage.text:upper", mode: item}',
    )
    function: FunctionRef = param(help="`package.module:name` of an installed function.")
    mode: Literal["item", "frame"] = param(
        default="item", help="Whether the function takes one item or a frame of them."
    )
    schema: SchemaRef | None = param(
        default=None,
        help="Schema of what it returns. Left out: untyped in mode item; else that of what it makes of no rows.",
    )
    scope: Literal["rows", "execution"] = param(
        default="rows",
        help="What a frame holds: any rows (so each must be computed by itself), or one whole execution.",
    )

    timeout_ms: int | None = param(
        default=None,
        ge=1,
        le=TIMEOUT_MS_MAX,
        help="How long a call may take. One that is not over then fails its item, or all rows of its frame, with "
        "`timed_out`. Left out: any time.",
    )

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if self._whole and extent != "item" else ()

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return self.spec.needs if self._whole else ("@path",) if self.mode == "item" else ()

    def acts_on_executions(self) -> bool:
        return self._whole

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        function = ctx.function(self.function, param="function")
        if self.scope == "execution" and self.mode == "item":
            ctx.report(
                CONTRADICTION,
                "scope execution needs mode frame.",
                param="scope",
                mend="Set mode: frame, or leave scope out.",
            )
        if self.schema is not None:
            schema = ctx.schema(self.schema, param="schema")
            return {} if schema is None else {"out": schema}
        if self.mode == "item":
            return {"out": ANY}
        schema = self._inferred(ctx, function) if function is not None else None
        return {} if schema is None else {"out": schema}

    @property
    def _whole(self) -> bool:
        return self.mode == "frame" and self.scope == "execution"

    def operator(self, ctx: BuildContext) -> Operator:
        function, schema = ctx.timed(ctx.function(self.function), self.timeout_ms), ctx.outputs["out"]
        if self.mode == "item":
            return ItemFunction(function, schema)
        if self.scope == "execution":
            return execution_function(function, ctx.inputs["in"], schema, bounded=ctx.extent != "item")
        return FrameFunction(function, schema)

    def _inferred(self, ctx: SchemaContext, function: Callable[..., Any]) -> Schema | None:
        try:
            returned = function(empty_frame(ctx.inputs["in"]))
        except Exception as error:  # a user's function may raise anything; it is reported, not passed over
            ctx.report(
                UNREADABLE,
                f"the function raised {type(error).__name__} for a frame without rows: {error}.",
                param="function",
                mend="Make it work for no rows, or give the schema of what it returns.",
            )
            return None
        if not isinstance(returned, pl.DataFrame):
            ctx.report(
                UNREADABLE,
                f"a frame function returns a polars DataFrame; this returns {type(returned).__name__}.",
                param="function",
            )
            return None
        columns = {n: t for n, t in returned.schema.items() if not n.startswith("@") or n == "@item"}
        if columns == dict(frame_schema(ctx.inputs["in"])):
            return ctx.inputs["in"]
        try:
            made = record_of_dtypes(columns, f"function {self.function.ref}")
        except CodecError as error:
            ctx.report(UNREADABLE, error.message, param="function", mend="Cast the column, or give the schema.")
            return None
        # A dtype does not tell an enum or JSON text from plain text: what passed through keeps its type.
        old = {
            f.name: f.type.optional() for f in ctx.inputs["in"].fields if polars_dtype(f.type) == columns.get(f.name)
        }
        return replace(made, fields=tuple(replace(f, type=old.get(f.name, f.type)) for f in made.fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Function):
    """Run a Python function: the action of the same abilities as `function`."""

    spec: ClassVar = NodeSpec(
        kind="code",
        category="action",
        outputs=(Port(name="out", help=_HELP),),
        stores=Function.spec.stores,
        whole_set=True,
        whole_set_mend=Function.spec.whole_set_mend,
        needs=Function.spec.needs,
        icon="code",
        example='score: {type: code, function: "mypackage.model:score", mode: frame}',
    )
