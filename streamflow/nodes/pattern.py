"""pattern: items of a key that follow each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from streamflow.model.batch import TS, WM
from streamflow.model.types import Field, Schema, Type
from streamflow.nodes.checks import (
    COLLISION,
    CONTRADICTION,
    TIME_MS_MAX,
    check_condition,
    check_key,
    check_names,
    is_field_name,
)
from streamflow.operators.errors import label
from streamflow.operators.keyed import KEY_VALUE
from streamflow.operators.pattern_rows import PatternRows
from streamflow.operators.patterns import STEPS_MAX, STORE, PatternOperator, Rule
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(Node):
    """Find items of a key that follow each other: one for the first step, then one for the second, and so on, all in
    less than `within` of the first.

    Every item that satisfies the first step begins a match. A match takes for each further step the first item behind
    the one before that satisfies it (`relaxed`: others between are passed over), or has to take the very next item of
    the key (`strict`: a match whose next item does not satisfy its step ends, and gives nothing). An item may be part
    of several matches, but fills one step of each. Items are taken in order of event time, and of arrival where that is
    equal, so what comes out of order, up to `disorder` of the trigger and `grace`, is found as well.

    The result has the key and a field for each step, with the whole item. Complete matches leave when event time has
    passed their last item, with its event time. Those whose time ran out leave by the port `timeout`, with null where
    nothing matched and the time at which it ran out. Items that satisfy no step are filtered, as are those with a null
    key. Items whose event time lies more than `grace` behind the watermark leave by the port `late`.
    """

    spec: ClassVar = NodeSpec(
        kind="pattern",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        outputs=(
            Port(name="out", help="Complete matches."),
            Port(name="timeout", help="Matches whose time ran out, with what matched."),
            Port(name="late", help="Items that come too late to be matched."),
        ),
        stores=(Store(name=STORE, help="Items of open matches."),),
        needs=(TS, WM),
        icon="list-ordered",
        example="unpaid: {type: pattern, key: order_id, within: 1h, "
        "steps: {placed: 'kind == \"placed\"', paid: 'kind == \"paid\"'}}",
    )
    key: Expression = param(help="What an item belongs to: text, bytes, a number, a bool or a time.")
    key_field: str = param(default="", help="Field of the key in the result. Left out: its name, if `key` is a field.")
    steps: Mapping[str, Expression] = param(help="Conditions in order, by the name of the field that takes the item.")
    within_ms: int = param(ge=1, le=TIME_MS_MAX, help="In less than how much time the whole has to come about.")
    contiguity: Literal["relaxed", "strict"] = param(
        default="relaxed", help="relaxed: other items of the key may stand between. strict: none may."
    )
    grace_ms: int = param(
        default=0, ge=0, le=TIME_MS_MAX, help="How far behind the watermark an item still takes part."
    )

    def makes_new_items(self) -> bool:
        return True

    def gives_several(self) -> bool:
        return True

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if not 2 <= len(self.steps) <= STEPS_MAX:
            message = f"a pattern has 2 to {STEPS_MAX} steps; there are {len(self.steps)}."
            mend = "Take filter for one condition." if len(self.steps) < 2 else "Take several nodes."
            ctx.report(CONTRADICTION, message, param="steps", mend=mend)
        if not self.steps:
            return {}
        check_names(ctx, self.steps, param="steps")
        check_key(ctx, self.key)
        key_type = ctx.typeof(self.key, param="key")
        name = self._key_name
        if not is_field_name(name):
            check_names(ctx, [name], param="key_field")
        if name in self.steps:
            ctx.report(COLLISION, f"{name!r} is there twice.", param="key_field", mend="Set `key_field`.")
        for step, condition in self.steps.items():
            check_condition(ctx, condition, param=f"steps.{step}")
        item = _unnamed(ctx.inputs["in"])
        key = Field(name=name, type=key_type.required() if key_type.kind != "any" else key_type)
        first, *others = self.steps
        whole = Type(kind="record", fields=(key, *(Field(name=step, type=item) for step in self.steps)))
        part = Type(
            kind="record",
            fields=(key, Field(name=first, type=item), *(Field(name=s, type=item.optional()) for s in others)),
        )
        return {"out": whole, "timeout": part, "late": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        conditions = {f"steps.{name}": e for name, e in self.steps.items()}
        expressions = {KEY_VALUE: self.key, **conditions}
        labels = {name: label(name, e) for name, e in expressions.items()}
        source, outputs = ctx.inputs["in"], ctx.outputs
        made = PatternRows(self._key_name, tuple(self.steps), source, outputs["out"], outputs["timeout"])
        rule = Rule(len(self.steps), self.within_ms, self.contiguity == "strict")
        return PatternOperator(rule, self.grace_ms, ctx.projection(expressions), labels, source, made)

    @property
    def _key_name(self) -> str:
        last = self.key.text.strip().rsplit(".", 1)[-1]
        return self.key_field or (last if is_field_name(last) else "key")


def _unnamed(schema: Schema) -> Schema:
    """The item as a field: a record that stands in several fields has a name in none of them."""
    return replace(schema, name="") if schema.kind == "record" else schema
