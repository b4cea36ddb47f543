"""error-trigger: starts a workflow with what failed in another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.dead_letter import DEAD_LETTER
from streamflow.sdk.node import Node, NodeSpec, Port, SchemaContext, Schemas, TopicRead, param

_TOPICS = {"dead_letters": "dead-letter", "handled": "errors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTrigger(Node):
    """Start an execution for each dead letter of another workflow: for alerts, tickets, repairs.

    An item is the whole error: `workflow`, `stage`, `node`, `code`, `message`, `attempt` (tries that were made),
    `execution`, and where the record lies that it came from (`topic`, `partition`, `offset`) with its `key`, `value`
    and `headers` byte for byte; where no single record stands for it, `item` is the failing item as JSON. Its event
    time is that of the failing item.

    It reads the topic `<workflow>.dead-letter`, so it hears of what its policies send there, exactly once, also of what
    failed before it was started. With `reads: handled` it reads `<workflow>.errors`: what the workflow handles itself
    (an error port, a fallback, `continue`), and halts, circuits and executions that end, as `policies: {error_workflow:
    {file, also}}` say; for both, connect two triggers to the same node. A workflow cannot read its own dead letters.

    `streamflow executions show FILE EXECUTION` tells of the execution that the item names, where the other workflow
    keeps records of executions.
    """

    spec: ClassVar = NodeSpec(
        kind="error-trigger",
        category="trigger",
        inputs=(),
        outputs=(Port(name="out", help="One item for each dead letter."),),
        icon="siren",
        example="failed: {type: error-trigger, workflow: big-orders}",
    )
    partitions: ClassVar[int] = 1  # of the dead letter topic, where this workflow runs first
    workflow: str = param(help="Id of the workflow whose failures are read.", min_length=1)
    reads: Literal["dead_letters", "handled"] = param(
        default="dead_letters", help="Items that nothing took, or those that a policy handled."
    )
    start: Literal["earliest", "latest"] = param(
        default="earliest", help="Where reading begins when nothing was committed yet."
    )

    def topic_read(self, ctx: SchemaContext) -> TopicRead | None:
        return TopicRead(
            topic=f"{self.workflow}.{_TOPICS[self.reads]}",
            format="avro",
            framing="raw",
            schema=DEAD_LETTER,
            start=self.start,
        )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": DEAD_LETTER}
