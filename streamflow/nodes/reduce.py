"""reduce: a running value of each key, by an expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.expressions.accumulate import accumulation
from streamflow.model.batch import TS, WM
from streamflow.model.types import Field, Type
from streamflow.nodes.checks import COLLISION, TIME_MS_MAX, check_key, check_names, is_field_name
from streamflow.operators.errors import label
from streamflow.operators.keyed import KEY_VALUE
from streamflow.operators.reducing import STORE, ReduceOperator
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce(Node):
    """Keep a value for each key: an expression makes the next one of the one before (`accumulator`) and the item.

    The first item of a key finds `initial`. The value may be a number, a text, a list or a record, such as
    `{"n": accumulator.n + 1, "sum": accumulator.sum + amount}`; its type is the one that `initial` and the expression
    have in common. Items are taken in order of arrival, whatever their event time: where that should not matter, take
    window, whose functions do not mind. They are faster as well: this goes item by item in Python.

    The result has the key and the value, with the item's event time. An item whose expression fails leaves the value as
    it was. Items with a null key are filtered. A key is remembered for ever, unless `forget` says for how long.
    """

    spec: ClassVar = NodeSpec(
        kind="reduce",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        stores=(Store(name=STORE, help="The value of each key."),),
        needs=(TS, WM),
        icon="sigma",
        example="balance: {type: reduce, key: account, initial: 0, "
        "expression: 'accumulator + (amount if kind == \"credit\" else -amount)'}",
    )
    key: Expression = param(help="What an item belongs to: text, bytes, a number, a bool or a time.")
    key_field: str = param(default="", help="Field of the key in the result. Left out: its name, if `key` is a field.")
    value_field: str = param(default="value", help="Field of the value in the result.")
    initial: Expression = param(help="The value before the first item of a key; may name `vars`.")
    expression: Expression = param(
        help="The next value. `accumulator` is the one before; fields, `item` and `meta` are the item's."
    )
    emit: Literal["update", "coalesced"] = param(
        default="update",
        help="update: at each item the value it made. coalesced: the latest of each key, at least once a commit.",
    )
    forget_ms: int | None = param(
        default=None,
        ge=1,
        le=TIME_MS_MAX,
        help="How far event time may go beyond a key's latest item before it begins anew. Left out: it never does.",
    )

    def makes_new_items(self) -> bool:
        return True

    def scatters_executions(self) -> bool:
        return False  # items pass at once

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        key_type = ctx.typeof(self.key, param="key")
        for param_name, name in (("key_field", self._key_name), ("value_field", self.value_field)):
            if not is_field_name(name):
                check_names(ctx, [name], param=param_name)
        if self._key_name == self.value_field:
            ctx.report(COLLISION, f"{self.value_field!r} is there twice.", param="value_field", mend="Set `key_field`.")
        made, findings = accumulation(self.initial, self.expression, ctx.scope("in"))
        for expression, found in findings:
            where = "initial" if expression is self.initial else "expression"
            ctx.report(found.code, found.message, param=where, mend=found.mend)
        if made is None:
            return {}
        key = Field(name=self._key_name, type=key_type.required() if key_type.kind != "any" else key_type)
        return {"out": Type(kind="record", fields=(key, Field(name=self.value_field, type=made.type)))}

    def operator(self, ctx: BuildContext) -> Operator:
        made, findings = accumulation(self.initial, self.expression, ctx.scope("in"))
        assert made is not None, findings
        labels = {KEY_VALUE: label("key", self.key), self.value_field: label("expression", self.expression)}
        projection = ctx.projection({KEY_VALUE: self.key})
        fields = self._key_name, self.value_field
        return ReduceOperator(projection, labels, made, self.emit, self.forget_ms, *fields, ctx.outputs["out"])

    @property
    def _key_name(self) -> str:
        last = self.key.text.strip().rsplit(".", 1)[-1]
        return self.key_field or (last if is_field_name(last) else "key")
