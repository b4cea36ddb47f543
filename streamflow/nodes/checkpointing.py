"""What the compiler puts before the nodes that the policy `checkpoints` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import EXECUTION, PATH
from streamflow.model.checkpoint import CHECKPOINT
from streamflow.model.policies import Extent
from streamflow.model.types import BOOL
from streamflow.operators.checkpointing import STORE, CheckpointOperator
from streamflow.operators.entered import kept_types
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, TopicWrite, param
from streamflow.sdk.operator import Operator

_RETENTION = "retention.ms"


def checkpoints_topic(workflow: str) -> str:
    """Where items are recorded, for rollbacks."""
    return f"{workflow}.checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Node):
    """Items pass; each is recorded whole, with what travels with it."""

    spec: ClassVar = NodeSpec(
        kind="checkpoint", category="control", inputs=(Port(name="in"),), outputs=(Port(name="out"),), can_fail=False
    )
    partition_by: ClassVar[str] = "key"  # all of an execution in one partition
    interval_ms: int | None = param(default=None, ge=1, help="At most one record of an execution in this time.")
    keep_ms: int = param(default=0, ge=0, help="How long records are kept; 0 keeps them.")
    when: Expression | None = param(default=None, help="Only items for which this is true are rolled back to.")
    rollbacks_max: int = param(default=3, ge=1, help="How often an execution is rolled back to here.")

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        del extent
        help_ = "When the last record of each execution was made."
        return () if self.interval_ms is None else (Store(name=STORE, help=help_),)

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        del extent
        return (EXECUTION, PATH)

    def gives_several(self) -> bool:
        return False

    def scatters_executions(self) -> bool:
        return False  # items pass at once

    def topic_write(self, ctx: SchemaContext) -> TopicWrite | None:
        config: Mapping[str, str] = {_RETENTION: str(self.keep_ms)} if self.keep_ms else {}
        topic = checkpoints_topic(ctx.workflow)
        return TopicWrite(topic=topic, format="avro", framing="raw", schema=CHECKPOINT, config=config)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.when is not None:
            ctx.typeof(self.when, param="when", expect=BOOL)
        return {"out": ctx.inputs["in"], "records": CHECKPOINT}

    def operator(self, ctx: BuildContext) -> Operator:
        return CheckpointOperator(kept_types(ctx.kept), self.interval_ms)
