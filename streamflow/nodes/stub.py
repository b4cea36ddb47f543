"""stub: stands where something came in from elsewhere that has no equivalent here, until somebody writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import Batch
from streamflow.model.types import ANY
from streamflow.nodes.checks import STUB
from streamflow.operators.errors import fail, join_failed
from streamflow.sdk.node import BuildContext, Json, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result

ITEM_CODE = "stub"  # of every item that gets to one


@dataclass(frozen=True, slots=True)
class StubOperator:
    """Every row fails, with a message that says what is missing."""

    message: str

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        return Result(outputs={}, failed=join_failed([fail(b, ITEM_CODE, self.message) for b in inputs.values()]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub(Node):
    """Hold the place of a node that has to be written by hand, such as one that `streamflow import` could not map.

    The workflow can be checked, planned and tested around it: ports and connections are there. `check` warns of each
    stub. An item that gets to one fails with the code `stub`.
    """

    spec: ClassVar = NodeSpec(
        kind="stub",
        category="action",
        inputs=(Port(name="in", optional=True, help="Items, which fail."),),
        one_to_one=True,
        icon="construction",
        example="mail: {type: stub, of: n8n-nodes-base.gmail, why: no equivalent, original: {sendTo: a@example.com}}",
    )
    of: str = param(help="What it stands for, as the system calls it that it comes from.", min_length=1)
    why: str = param(default="", help="Why it is a stub.")
    original: Json | None = param(default=None, help="Parameters as they were there. Nothing reads them.")
    inputs: tuple[str, ...] = param(default=("in",), help="Input ports.", min_length=1)
    outputs: tuple[str, ...] = param(default=("out",), help="Output ports.")

    def input_ports(self) -> tuple[Port, ...]:
        return tuple(Port(name=name, optional=True) for name in dict.fromkeys(self.inputs))

    def output_ports(self) -> tuple[Port, ...]:
        return tuple(Port(name=name) for name in dict.fromkeys(self.outputs))

    def gives_several(self) -> bool:
        return False

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        why = f": {self.why}" if self.why else ""
        ctx.report(
            STUB,
            f"this is a stub of {self.of!r}{why}. Items that get here fail.",
            mend="Put a node in its place; `original` keeps its parameters.",
            severity="warning",
        )
        return dict.fromkeys((port.name for port in self.output_ports()), ANY)

    def operator(self, ctx: BuildContext) -> Operator:
        return StubOperator(f"a stub of {self.of!r} stands here")
