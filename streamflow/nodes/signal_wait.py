"""The parts of a `wait` for a signal. The compiler puts them in its place; no document can name them.

read     the trigger: records of topic `<workflow>.signals`
check    signals that are for the node, and sound
(wait)   items and signals by key
lost     signals that answered nothing
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from streamflow.model.batch import EXECUTION
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, LONG, Field, Schema, Type
from streamflow.nodes.checks import COLLISION, CONTRADICTION, check_key, check_names
from streamflow.nodes.wait_params import EXECUTION_KEY, WaitBase
from streamflow.operators.errors import label
from streamflow.operators.signal_rules import Rules
from streamflow.operators.signal_waits import KEY_VALUE, SignalWaitOperator
from streamflow.operators.signals import HEARD, SIGNAL, UNCLAIMED, HearOperator, UnclaimedOperator
from streamflow.operators.signing import signing_key
from streamflow.operators.waiting import DUE, STORE
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, NodeSpec, Parts, Port, SchemaContext, Schemas, Store, TopicRead
from streamflow.sdk.operator import Operator


def signals_topic(workflow: str) -> str:
    """Where signals of a workflow are written."""
    return f"{workflow}.signals"


def signal_parts(node: WaitBase) -> Parts:
    """The parts of a wait for a signal, with its parameters."""
    params: dict[str, Any] = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    kinds = {"read": ReadSignals, "check": HearSignals, "": SignalWait, "lost": LostSignals}
    return Parts(
        nodes={name: kind(**params) for name, kind in kinds.items()},
        inputs={"in": ("", "in")},
        wires=(
            ("read", "out", "check", "in"),
            ("check", "out", "", "signals"),
            ("", "unclaimed", "lost", "in"),
        ),
        failing="",
        apart=frozenset({"read", "check", "lost"}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSignals(WaitBase):
    """Signals as they stand on the topic."""

    spec: ClassVar = NodeSpec(kind="wait.read", category="trigger", inputs=(), outputs=(Port(name="out"),))

    def starts_executions(self) -> bool:
        return False

    def topic_read(self, ctx: SchemaContext) -> TopicRead | None:
        # Whoever waits for event time does not wait for signals: they have no part in it.
        return TopicRead(
            topic=signals_topic(ctx.workflow), format="avro", framing="raw", schema=SIGNAL, idle_after_ms=1
        )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {"out": SIGNAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class HearSignals(WaitBase):
    """Signals for the node."""

    spec: ClassVar = NodeSpec(kind="wait.check", category="control", outputs=(Port(name="out"),))

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if self.schema is not None:
            ctx.schema(self.schema, param="schema")
        return {"out": HEARD}

    def operator(self, ctx: BuildContext) -> Operator:
        assert self.signal is not None
        schema = None if self.schema is None else ctx.schema(self.schema)
        return HearOperator(
            node=ctx.node_id.rpartition(".")[0],
            signal=self.signal,
            schema=schema,
            signing_key=signing_key() if self.signed else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWait(WaitBase):
    """Items and signals by key."""

    spec: ClassVar = NodeSpec(
        kind="wait.signal",
        category="control",
        holds=True,
        inputs=(Port(name="in", keyed=True), Port(name="signals", keyed=True, aside=True)),
        outputs=(Port(name="out"), Port(name="timeout"), Port(name="unclaimed")),
        stores=(Store(name=STORE, help="Items that wait, and signals that came early."),),
    )

    def output_ports(self) -> tuple[Port, ...]:
        return tuple(p for p in self.spec.outputs if p.name != "timeout" or self.timeout_ms is not None)

    def held_ports(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        return ("in",), tuple(port.name for port in self.output_ports() if port.name != "unclaimed")

    def port_key(self, port: str) -> Expression | None:
        return Expression("key") if port == "signals" else self.key or EXECUTION_KEY

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return (EXECUTION,)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.check_mode(ctx):
            check_key(ctx, self.key)
            self.check_times(ctx)
        items, payload = ctx.inputs["in"], ANY
        if self.schema is not None:
            payload = ctx.schema(self.schema, param="schema") or ANY
        if items.kind not in ("record", "any"):
            ctx.report(
                CONTRADICTION,
                f"items are {items}: they have no place for a signal's payload.",
                mend="Make records of them with `set` before this node.",
            )
        elif not check_names(ctx, (self.field,), param="field"):
            pass
        elif items.kind == "record" and items.field(self.field) is not None:
            ctx.report(COLLISION, f"items have a field {self.field!r} already.", param="field", mend="Set `field`.")
        made = {"out": with_field(items, self.field, payload), "timeout": items, "unclaimed": UNCLAIMED}
        return {port.name: made[port.name] for port in self.output_ports()}

    def operator(self, ctx: BuildContext) -> Operator:
        key = self.key or EXECUTION_KEY
        expressions, labels = {KEY_VALUE: key}, {KEY_VALUE: label("key", key)}
        expect: dict[str, Type] = {}
        if self.timeout_ms is not None:
            expressions[DUE], labels[DUE] = self.timeout_ms, label("timeout", self.timeout_ms)
            if ctx.projection({DUE: self.timeout_ms}).types[DUE].kind == "any":
                expect[DUE] = LONG.optional()
        rules = Rules(
            answers_all=self.answers == "all",
            keep_early_ms=self.keep_early_ms,
            keep_early_max=self.keep_early_max,
            repeats_ms=self.repeats_ms,
            repeats_max=self.repeats_max,
            waiting_max=self.waiting_max,
            field=self.field,
            payload=None if self.schema is None else ctx.schema(self.schema),
            fails_late="timeout" not in ctx.wired,
        )
        projection = ctx.projection(expressions, expect=expect or None)
        return SignalWaitOperator(
            projection, labels, ctx.inputs["in"], ctx.outputs["out"], ctx.kept, rules, ctx.remembered
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LostSignals(WaitBase):
    """Signals that answered nothing."""

    spec: ClassVar = NodeSpec(kind="wait.lost", category="control", outputs=())

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        return {}

    def operator(self, ctx: BuildContext) -> Operator:
        assert self.signal is not None
        return UnclaimedOperator(self.signal)


def with_field(items: Schema, name: str, of: Type) -> Schema:
    """Records with one more field; what is no record stays."""
    if items.kind != "record":
        return items
    return replace(items, name="", fields=(*(f for f in items.fields if f.name != name), Field(name=name, type=of)))
