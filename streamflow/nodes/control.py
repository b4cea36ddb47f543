"""What each task of a workflow with a history keeps of its control topic; no document can name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.operators.control import ControlOperator
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Control(Node):
    """Orders to executions."""

    spec: ClassVar = NodeSpec(kind="control", category="control", inputs=(Port(name="in"),), outputs=())

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {}

    def operator(self, ctx: BuildContext) -> Operator:
        return ControlOperator()
