"""merge: branches of a workflow become one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Field, Schema, Type
from streamflow.nodes.checks import COLLISION, CONTRADICTION, WRONG_TYPE
from streamflow.nodes.no_op import PassOperator
from streamflow.operators.combining import Combine, CombineOperator
from streamflow.operators.errors import label
from streamflow.operators.keys import can_be_key
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator

_SIDES = (Port(name="left"), Port(name="right"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Node):
    """Bring branches together.

    - append: all items of all connections to `in`, in the order in which they came into the workflow.
    - combine_by_key: items of `left` and `right` with equal keys become one; null equals nothing.
    - combine_by_position: the first with the first, the second with the second, …
    - combine_all: each with each.
    - choose: the items of one port, or of the other where an execution has none there.

    Combined items have the fields of both. A field that both have is the left one's; the right one's gets a suffix.
    """

    spec: ClassVar = NodeSpec(
        kind="merge",
        category="merge",
        inputs=(Port(name="in", help="Mode append: any number of connections."), *_SIDES),
        outputs=(Port(name="out"),),
        stores=(Store(name="rows", help="Items of executions that have not ended; all modes but append."),),
        whole_set=True,
        needs=("@execution", "@path"),
        icon="merge",
        example="priced: {type: merge, mode: combine_by_key, keys: [sku], join: left}",
    )
    mode: Literal["append", "combine_by_key", "combine_by_position", "combine_all", "choose"] = param(
        default="append", help="How items come together."
    )
    keys: tuple[Expression, ...] = param(
        default=(), help="combine_by_key: what items that belong together have in common."
    )
    right_keys: tuple[Expression, ...] = param(
        default=(), help="combine_by_key: the same of the right items. Left out: as `keys`."
    )
    join: Literal["inner", "left", "outer"] = param(
        default="inner",
        help="combine_by_key and _by_position: which items without a partner stay: none, those of `left`, or all.",
    )
    prefer: Literal["left", "right"] = param(default="left", help="choose: the port that comes first.")
    left_suffix: str = param(default="", help="Put behind names of left fields that right items have too.")
    right_suffix: str = param(default="_right", help="Put behind names of right fields that left items have too.")

    def input_ports(self) -> tuple[Port, ...]:
        return (self.spec.inputs[0],) if self.mode == "append" else _SIDES

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if self.mode != "append" and extent != "item" else ()

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return self.spec.needs if self.mode != "append" else ()

    def acts_on_executions(self) -> bool:
        return self.mode != "append"

    def makes_new_items(self) -> bool:
        return False  # a combined item stands for one of each side

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if any(p.name not in ctx.inputs for p in self.input_ports()):
            return {}
        if self.mode == "append":
            return {"out": ctx.inputs["in"]}
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        if "bytes" in (left.kind, right.kind):
            ctx.report(WRONG_TYPE, "items of bytes have no fields to combine.", mend="Put them into a field with set.")
            return {}
        if self.mode == "choose":
            if left != right:
                ctx.report(
                    WRONG_TYPE,
                    f"the ports carry different items: left {left}, right {right}.",
                    param="mode",
                    mend="Bring them to one schema with set, or use append.",
                )
            return {"out": left}
        self._check_keys(ctx)
        return {"out": self._combined(ctx, left, right)}

    def operator(self, ctx: BuildContext) -> Operator:
        if self.mode == "append":
            return PassOperator()
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        keys: dict[str, tuple[Projection, Mapping[str, str]]] = {}
        if self.mode == "combine_by_key":
            for port, expressions in (("left", self.keys), ("right", self.right_keys or self.keys)):
                named = {f"@:{at}": e for at, e in enumerate(expressions)}
                what = "right_keys" if port == "right" and self.right_keys else "keys"
                labels = {n: label(f"{what}[{at}]", e) for at, (n, e) in enumerate(named.items())}
                keys[port] = (ctx.projection(named, port=port), labels)
        combine = Combine(
            mode=self.mode,
            join=self.join,
            prefer=self.prefer,
            keys=len(self.keys) if self.mode == "combine_by_key" else 0,
            left=left,
            right=right,
            schema=ctx.outputs["out"],
            left_names=self._names(left, right, self.left_suffix),
            right_names=self._names(right, left, self.right_suffix),
            left_suffix=self.left_suffix,
            right_suffix=self.right_suffix,
        )
        return CombineOperator(combine, keys, ctx.extent != "item")

    def _check_keys(self, ctx: SchemaContext) -> None:
        if self.mode != "combine_by_key":
            return
        if not self.keys:
            ctx.report(CONTRADICTION, "combine_by_key needs keys.", param="mode", mend="Set keys.")
        if self.right_keys and len(self.right_keys) != len(self.keys):
            ctx.report(
                CONTRADICTION, f"{len(self.keys)} keys, but {len(self.right_keys)} right_keys.", param="right_keys"
            )
            return
        for at, (a, b) in enumerate(zip(self.keys, self.right_keys or self.keys, strict=True)):
            where = "right_keys" if self.right_keys else "keys"
            one = ctx.typeof(a, param=f"keys[{at}]", port="left")
            other = ctx.typeof(b, param=f"{where}[{at}]", port="right")
            if not (can_be_key(one) and can_be_key(other)) or not comparable(one, other):
                ctx.report(
                    WRONG_TYPE,
                    f"`{a.text}` is {one} on the left and `{b.text}` {other} on the right: they cannot be compared.",
                    param=f"{where}[{at}]",
                    mend="Convert one of them.",
                )

    def _names(self, schema: Schema, other: Schema, suffix: str) -> Mapping[str, str]:
        """New name of each field."""
        taken = {f.name for f in other.fields}
        return {f.name: f"{f.name}{suffix}" if f.name in taken else f.name for f in schema.fields}

    def _combined(self, ctx: SchemaContext, left: Schema, right: Schema) -> Schema:
        if "any" in (left.kind, right.kind):
            return ANY
        one, other = self._names(left, right, self.left_suffix), self._names(right, left, self.right_suffix)
        loose = self.mode in ("combine_by_key", "combine_by_position")
        fields = _renamed(left, one, nullable=loose and self.join == "outer")
        fields += _renamed(right, other, nullable=loose and self.join != "inner")
        names = [f.name for f in fields]
        for name in sorted({n for n in names if names.count(n) > 1}):
            ctx.report(
                COLLISION,
                f"combined items would have two fields {name!r}.",
                param="right_suffix",
                mend="Choose suffixes that make them differ.",
            )
        return Type(kind="record", fields=tuple(fields))


def comparable(one: Type, other: Type) -> bool:
    """Whether keys of two types can be equal."""
    if "any" in (one.kind, other.kind):
        return one.kind == other.kind
    if one.is_numeric and other.is_numeric:
        return (one.kind == "decimal") == (other.kind == "decimal")
    return one.kind == other.kind or (one.is_text and other.is_text)


def _renamed(schema: Schema, names: Mapping[str, str], *, nullable: bool) -> list[Field]:
    return [
        replace(f, name=names[f.name], type=f.type.optional() if nullable else f.type, aliases=())
        for f in schema.fields
    ]
