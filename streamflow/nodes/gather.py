"""What the compiler puts before a node that needs all rows of an execution, where they come by several topics or at
different times. No document can name these.

gather.send   what comes to the node by all connections, on its way to one partition for each execution
gather        rows are kept until no more of their execution can come; then all leave together
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from streamflow.model.batch import EXECUTION, PATH, Batch
from streamflow.model.policies import Extent
from streamflow.model.types import Schema
from streamflow.operators.firsts import FirstGatherOperator
from streamflow.operators.gathering import STORE, Bounds, GatherOperator
from streamflow.operators.packing import Packing, packed_schema, port_schemas
from streamflow.operators.partition import partition_of_executions
from streamflow.operators.placement import TO
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Context, Operator, Result

ITEMS_MAX, BYTES_MAX, EXECUTIONS_MAX = 100_000, 64 << 20, 1_000_000


@dataclass(frozen=True, slots=True)
class SendOperator:
    """Packs rows, and says which partition they go to. Their keys stay."""

    packing: Packing
    partitions: int

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = self.packing.pack(inputs)
        to = partition_of_executions(batch.frame[EXECUTION], self.partitions)
        return Result(outputs={"records": batch.with_frame(batch.frame.with_columns(pl.Series(TO, to)))})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherSend(Node):
    """Rows on their way to the gather. `why`: what takes rows of an execution apart before it."""

    spec: ClassVar = NodeSpec(
        kind="gather.send", category="merge", outputs=(Port(name="out"),), one_to_one=True, needs=(EXECUTION, PATH)
    )
    ports: tuple[str, ...] = param(help="Connections into the node behind.")
    why: str = param(default="", help="What takes rows of an execution apart.")

    @property
    def partition_by(self) -> str:
        return "expression"  # the operator says where each row goes

    def input_ports(self) -> tuple[Port, ...]:
        return tuple(Port(name=port) for port in self.ports)

    def scatters_executions(self) -> bool:
        return False

    def spread_over(self) -> int | None:
        return None

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if any(port not in ctx.inputs for port in self.ports):
            return {}
        return {"out": packed_schema({port: ctx.inputs[port] for port in self.ports})}

    def operator(self, ctx: BuildContext) -> Operator:
        return SendOperator(Packing({port: ctx.inputs[port] for port in self.ports}), ctx.target_partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Node):
    """Rows of an execution, all at once; or, of a node that takes the first branch, those of that one as they come."""

    spec: ClassVar = NodeSpec(
        kind="gather",
        category="control",
        stores=(Store(name=STORE, help="Rows of executions of which more may come."),),
        needs=(EXECUTION, PATH),
    )
    ports: tuple[str, ...] = param(help="Connections into the node behind.")
    sides: tuple[str, ...] = param(help="The port of the node behind that each of them leads to.")
    first: bool = param(default=False, help="Pass rows of the port that is first, and drop the others.")
    stops: bool = param(default=False, help="Rows that others of an execution's ports still wait for end.")
    timeout_ms: int | None = param(default=None, ge=1, help="How long an execution waits for the rest of its rows.")
    items_max: int = param(default=ITEMS_MAX, ge=1, help="Rows of an execution.")
    bytes_max: int = param(default=BYTES_MAX, ge=1, help="Bytes of the rows of an execution.")
    executions_max: int = param(default=EXECUTIONS_MAX, ge=1, help="Executions of a task.")

    def output_ports(self) -> tuple[Port, ...]:
        return tuple(Port(name=port) for port in self.ports)

    def gives_several(self) -> bool:
        return False

    def scatters_executions(self) -> bool:
        return False  # whoever asks knows it by its class

    def held_ports(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        return None if self.first else (("in",), self.ports)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return port_schemas(ctx.inputs["in"], self.ports) if "in" in ctx.inputs else {}

    def operator(self, ctx: BuildContext) -> Operator:
        ports: Mapping[str, Schema] = {port: ctx.outputs[port] for port in self.ports}
        bounds = Bounds(self.items_max, self.bytes_max, self.executions_max, self.timeout_ms)
        if self.first:
            return FirstGatherOperator(Packing(ports), self.sides, bounds, stops=self.stops)
        return GatherOperator(Packing(ports), self.sides, ctx.inputs["in"], ctx.kept, bounds)

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        del extent
        return self.spec.stores
