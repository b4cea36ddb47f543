"""sub-flow: another workflow file as one node; and what begins and ends such a file.

The compiler puts the nodes of the file in the place of the node (`compiler/subflows.py`), so nothing here runs but
where items enter and leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.batch import Batch
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Schema
from streamflow.nodes.checks import MISFIT
from streamflow.nodes.manual import ManualSource
from streamflow.nodes.no_op import PassOperator
from streamflow.operators.errors import without
from streamflow.operators.records import Shaping, Typing, shape_items
from streamflow.operators.typed_json import typed_items, untyped_items
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, SchemaRef, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result
from streamflow.sdk.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlow(Node):
    """Run items through the nodes of another workflow file, as if they were written here.

    The file begins with a `sub-flow-trigger` and ends with `return`; other triggers of it are left out. Its nodes are
    named `<this node>.<their id>` in plans, topics and dead letters. They follow the policies of their own file; items
    that fail there and are handled by nothing there leave by port `error`, if it is connected.
    """

    spec: ClassVar = NodeSpec(
        kind="sub-flow",
        category="action",
        outputs=(Port(name="out", help="What `return` gives; without `wait`, the items as they came."),),
        icon="workflow",
        example="priced: {type: sub-flow, workflow: pricing.yaml, inputs: {amount: total, currency: '\"EUR\"'}}",
    )
    workflow: str = param(
        help="The file: a path from the folder of this one, within the project (docs/semantics.md).", min_length=1
    )
    run: Literal["each", "all"] = param(
        default="each",
        help="Whether each item goes through by itself, or all of an execution together, as nodes that sort or "
        "aggregate them need.",
    )
    wait: bool = param(
        default=True, help="Whether what `return` gives goes on from here. If not, items go on as they came."
    )
    pin: str | None = param(
        default=None,
        pattern=r"sha256:[0-9a-f]*",
        help="`sha256:…` of what the file says, whatever its layout and comments: another version is refused.",
    )
    inputs: Mapping[str, Expression] | None = param(
        default=None, help="Fields of the items that are handed in. Left out: the items as they are."
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return PassOperator()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowTrigger(Node):
    """Where items enter when this file is a sub-flow of another. Run by itself it starts nothing; tests may feed it."""

    spec: ClassVar = NodeSpec(
        kind="sub-flow-trigger",
        category="trigger",
        inputs=(),
        outputs=(Port(name="out", help="The items that are handed in."),),
        icon="log-in",
        example="given: {type: sub-flow-trigger, schema: order.avsc}",
    )
    schema: SchemaRef | None = param(
        default=None,
        help="Schema of the items: those handed in are brought to it by name. Left out: whatever they are, untyped by "
        "itself.",
    )

    def trigger_extent(self) -> Extent:
        return "run"

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.schema is None:
            return {"out": ANY}
        schema = ctx.schema(self.schema, param="schema")
        return {} if schema is None else {"out": schema}

    def source(self, ctx: BuildContext) -> Source:
        return ManualSource([], ctx.outputs["out"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowEntry(Node):
    """What stands in the place of a trigger with a schema: items handed in, brought to it."""

    spec: ClassVar = NodeSpec(kind="sub-flow.in", category="transform", one_to_one=True)
    schema: SchemaRef = param(help="Schema of the items.")

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        schema = ctx.schema(self.schema, param="schema")
        if schema is None or "in" not in ctx.inputs:
            return {}
        shaped = shape_items(_handed(ctx.inputs["in"]), schema)
        for misfit in shaped if isinstance(shaped, list) else ():
            what = f"field {misfit.path!r}" if misfit.path else "the item"
            ctx.report(MISFIT, f"{what} of what is handed in {misfit.message}.", param="schema", mend="Set `inputs`.")
        return {"out": schema}

    def operator(self, ctx: BuildContext) -> Operator:
        source = ctx.inputs["in"]
        shaped = shape_items(_handed(source), ctx.schema(self.schema))
        assert not isinstance(shaped, list)
        return EntryOperator(shaped, as_json=_handed(source) != source)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowErrors(Node):
    """Where failed items of all nodes of a sub-flow meet on their way to its error port."""

    spec: ClassVar = NodeSpec(kind="sub-flow.errors", category="merge", can_fail=False, one_to_one=True, mixed=True)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return PassOperator()


@dataclass(frozen=True, slots=True)
class EntryOperator:
    """Items of another schema; those that do not fit fail."""

    shaping: Shaping | Typing
    as_json: bool  # they hold untyped values, so they go by the rules of JSON

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        if not self.as_json:
            made, failed = self.shaping.run(batch)
            return Result(outputs={"out": made}, failed=failed)
        payload, wrong = typed_items(untyped_items(batch), self.shaping.schema)
        fine, failed = without(batch, {at: (code, f"schema: {why}") for at, (code, why) in wrong.items()})
        frame = fine.frame.select(fine.reserved_columns()).with_columns(payload.get_columns())
        return Result(outputs={"out": Batch(frame, self.shaping.schema)}, failed=failed)


def _handed(source: Schema) -> Schema:
    """Items with untyped fields are untyped as a whole."""
    return ANY if any(f.type.kind == "any" for f in source.fields) else source


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(Node):
    """Give items to the workflow of which this file is a sub-flow. By itself it passes them on."""

    spec: ClassVar = NodeSpec(
        kind="return",
        category="action",
        outputs=(Port(name="out", help="The items, for a workflow that goes on here by itself."),),
        can_fail=False,
        one_to_one=True,
        icon="log-out",
        example="result: {type: return}",
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ctx.inputs["in"]} if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        return PassOperator()
