"""slots: so many executions at once, and so many in a period; the others wait in order of priority.

It stands for several nodes, which the compiler puts in its place; no document can name them.

queue    everything in one partition, so that one task knows who has a slot
read     the trigger: records that tell what becomes of executions
(slots)  rows wait, and go on
go       rows are spread over partitions again
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from streamflow.model.batch import EXECUTION
from streamflow.model.policies import Extent
from streamflow.model.types import LONG, Type
from streamflow.nodes.repartition import Repartition
from streamflow.nodes.slots_params import SlotsBase
from streamflow.operators.errors import label
from streamflow.operators.slots import ENDS, PRIORITY, SHARE, STORE, SlotsOperator
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, NodeSpec, Parts, Port, SchemaContext, Schemas, Store, TopicRead, param
from streamflow.sdk.operator import Operator

_STORE = Store(name=STORE, help="Who has a slot, and who waits for one.")


def executions_topic(workflow: str) -> str:
    """Where executions leave their records."""
    return f"{workflow}.executions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots(SlotsBase):
    """Let so many executions at once be under way behind it (`executions`), and so many begin in a period (`rate`).

    Others wait, those of the greatest `priority` first, and of these those that came first. A slot is free again when
    nothing of its execution is left behind the node: when its rows were written, filtered, dead-lettered or taken into
    a window; an execution that waits for a time or a signal keeps its slot. Nothing is lost when the queue is full: no
    more is taken in until half of it has gone on (`when_full: wait`), or what is too much fails (`fail`).

    With `policies: {concurrency: …, rate: …}` the workflow has one right behind its trigger. What is under way is known
    from the records of executions, so that `executions` needs the policy `executions: all`. One task keeps the slots
    of all workers, and rows go through two topics: for slow work, which alone needs a limit. Where rows go on they are
    in `partitions` partitions again, each key in one.

    `items: K` is for what an execution was split into: of each execution at most K items are under way behind it, and
    what they become there counts as much. It needs the same records, and its slots are those of all executions
    together, at most 100,000.

    With `rate` alone it may stand before any node, such as one that calls outside: items wait there instead of being
    dropped, as `throttle` does.
    """

    spec: ClassVar = NodeSpec(
        kind="slots",
        category="control",
        outputs=(Port(name="out", help="Items that have a slot."),),
        stores=(_STORE,),
        icon="layout-grid",
        example="gate: {type: slots, executions: 2, priority: urgency, aging: 1m}",
    )

    def parts(self) -> Parts | None:
        params: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        here = Repartition(partition_by="expression", partition=Expression("0"), partition_count=1)
        back = Repartition(
            partition_by="expression", partition=Expression("meta.partition"), partition_count=self.partitions
        )
        read = {"read": ReadEnds(**params)} if self.counts else {}
        told = (("read", "out", "", "ended"),) if self.counts else ()
        return Parts(
            nodes={"queue": here, **read, "": HoldSlots(**params), "go": back},
            inputs={"in": ("queue", "in")},
            outputs={"out": ("go", "out")},
            wires=(("queue", "out", "", "in"), *told, ("", "out", "go", "in")),
            failing="",
            apart=frozenset(read),
        )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        raise AssertionError("its parts have schemas")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEnds(SlotsBase):
    """Records of executions."""

    spec: ClassVar = NodeSpec(kind="slots.read", category="trigger", inputs=(), outputs=(Port(name="out"),))

    def starts_executions(self) -> bool:
        return False

    def topic_read(self, ctx: SchemaContext) -> TopicRead | None:
        return TopicRead(topic=executions_topic(ctx.workflow), format="avro", framing="raw", schema=ENDS, aside=True)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": ENDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSlots(SlotsBase):
    """Rows wait for a slot. `behind`: the stages behind it, which the compiler knows when it has cut them."""

    spec: ClassVar = NodeSpec(
        kind="slots.hold",
        category="control",
        inputs=(Port(name="in"), Port(name="ended", optional=True, aside=True)),
        outputs=(Port(name="out"),),
        stores=(_STORE,),
    )
    behind: tuple[str, ...] = param(default=(), help="Stages whose records tell what becomes of executions.")

    def knowing(self, behind: Sequence[str]) -> HoldSlots:
        return replace(self, behind=tuple(behind))

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return (EXECUTION,)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        self.check(ctx)
        return {"out": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        asked = {PRIORITY: self.priority, SHARE: self.per}
        expressions = {name: one for name, one in asked.items() if one is not None}
        projection = None
        if expressions:
            projection = ctx.projection(expressions)
            if PRIORITY in expressions and projection.types[PRIORITY].kind == "any":
                expect: dict[str, Type] = {PRIORITY: LONG.optional()}
                projection = ctx.projection(expressions, expect=expect)
        return SlotsOperator(
            projection=projection,
            labels={name: label(name, one) for name, one in expressions.items()},
            schema=ctx.inputs["in"],
            earlier=ctx.kept,
            rules=self.rules(),
            behind=frozenset(self.behind),
            refuses=self.when_full == "fail",
            of_items=self.items is not None,
        )
