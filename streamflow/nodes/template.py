"""template: text with values filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.types import STRING
from streamflow.nodes.checks import check_names, check_template
from streamflow.nodes.sequence import as_text
from streamflow.nodes.set import make_set, schema_after
from streamflow.sdk.node import BuildContext, Node, NodeSpec, SchemaContext, Schemas, Template, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateNode(Node):
    """Put text with `{{ expression }}` inside into a field of the item."""

    spec: ClassVar = NodeSpec(
        kind="template",
        category="transform",
        one_to_one=True,
        icon="text",
        example='greeting: {type: template, text: "Order {{ id }} of {{ customer }} is on its way.", field: text}',
    )
    text: Template = param(help="The text; each `{{ expression }}` is replaced by its value.", multiline=True)
    field: str = param(default="text", help="Field that takes the text.", min_length=1)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_names(ctx, [self.field], param="field")
        check_template(ctx, self.text, param="text")
        return {"out": schema_after(ctx.inputs["in"], {self.field: STRING}, None, ())}

    def operator(self, ctx: BuildContext) -> Operator:
        fields = {self.field: as_text(ctx.template(self.text))}
        return make_set(ctx, fields, {self.field: "text"}, keep=None, remove=())
