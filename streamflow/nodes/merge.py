"""merge: branches of a workflow become one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Field, Schema, Type
from streamflow.nodes.checks import COLLISION, CONTRADICTION, WRONG_TYPE
from streamflow.nodes.gather import BYTES_MAX, EXECUTIONS_MAX, ITEMS_MAX
from streamflow.nodes.join_fields import late_schema
from streamflow.nodes.no_op import PassOperator
from streamflow.operators.combining import Combine, CombineOperator
from streamflow.operators.errors import label
from streamflow.operators.firsts import FirstOperator
from streamflow.operators.keys import can_be_key
from streamflow.operators.late_rows import Waiting
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
    - first: the items of the port that an execution comes by first; those that it has at the other port end here.
      What is still on the way there ends as cancelled, where it waits or comes to a node that leads nowhere but to
      that port. Steps that are done stay done. `others: finish` lets it go on.

    Combined items have the fields of both. A field that both have is the left one's; the right one's gets a suffix.

    All modes but append take the items of each execution by themselves. Where an execution's items come by several
    topics or at different times (behind a wait, a repartition, items that are tried again later), they are kept until
    no more of them can come: a branch that was not taken, or whose items were filtered or failed, is not waited for.
    With `timeout` an execution waits for the rest of its items no longer than that, from its first item here on, by
    the wall clock. The mode then takes what is there, as if nothing had been left, and what it makes of that leaves by
    the port `timeout`, or by `out` where nothing is connected there; an execution of which it makes nothing ends here.
    Items that come later leave by the port `late`, or fail with `too_late` where nothing is connected there; what is
    beyond the bounds fails with `too_many_gathered`, in node `<id>.gather`. In mode first nobody waits.
    """

    spec: ClassVar = NodeSpec(
        kind="merge",
        category="merge",
        inputs=(Port(name="in", help="Mode append: any number of connections."), *_SIDES),
        outputs=(
            Port(name="out"),
            Port(name="timeout", help="With `timeout`: what was made of executions that were not complete by then."),
            Port(name="late", help="With `timeout`: items that came behind it, as `{left, right}`."),
        ),
        stores=(Store(name="rows", help="Items of executions that have not ended; all modes but append."),),
        whole_set=True,
        needs=("@execution", "@path"),
        icon="merge",
        example="priced: {type: merge, mode: combine_by_key, keys: [sku], join: left}",
    )
    mode: Literal["append", "combine_by_key", "combine_by_position", "combine_all", "choose", "first"] = param(
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
    others: Literal["cancel", "finish"] = param(
        default="cancel", help="first: items on the way to the other port end where they are, or go on to the merge."
    )
    prefer: Literal["left", "right"] = param(default="left", help="choose: the port that comes first.")
    left_suffix: str = param(default="", help="Put behind names of left fields that right items have too.")
    right_suffix: str = param(default="_right", help="Put behind names of right fields that left items have too.")
    timeout_ms: int | None = param(
        default=None, ge=1, help="How long an execution waits for the rest of its items. Left out: until all are there."
    )
    items_max: int = param(default=ITEMS_MAX, ge=1, help="Items of an execution that wait for the rest.")
    bytes_max: int = param(default=BYTES_MAX, ge=1, help="Bytes of the items of an execution that wait for the rest.")
    executions_max: int = param(default=EXECUTIONS_MAX, ge=1, help="Executions of a task whose items wait.")

    def input_ports(self) -> tuple[Port, ...]:
        return (self.spec.inputs[0],) if self.mode == "append" else _SIDES

    def output_ports(self) -> tuple[Port, ...]:
        return self.spec.outputs if self.timeout_ms is not None else self.spec.outputs[:1]

    def gathering(self) -> Mapping[str, Any]:
        """How its items are gathered (`nodes.gather`)."""
        named = ("timeout_ms", "items_max", "bytes_max", "executions_max")
        first = self.mode == "first"
        return {
            "first": first,
            "stops": first and self.others == "cancel",
            **{name: getattr(self, name) for name in named},
        }

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
        self._check_waiting(ctx)
        if self.mode == "append":
            return self._made(ctx.inputs["in"], ctx)
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        if "bytes" in (left.kind, right.kind):
            ctx.report(WRONG_TYPE, "items of bytes have no fields to combine.", mend="Put them into a field with set.")
            return {}
        if self.mode in ("choose", "first"):
            if left != right:
                ctx.report(
                    WRONG_TYPE,
                    f"the ports carry different items: left {left}, right {right}.",
                    param="mode",
                    mend="Bring them to one schema with set, or use append.",
                )
            return self._made(left, ctx)
        self._check_keys(ctx)
        return self._made(self._combined(ctx, left, right), ctx)

    def operator(self, ctx: BuildContext) -> Operator:
        if self.mode == "append":
            return PassOperator()
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        if self.mode == "first":
            return FirstOperator([port.name for port in _SIDES], ctx.outputs["out"])
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
        late = ctx.outputs["late"] if "late" in ctx.wired else None
        waiting = Waiting(over="timeout" if "timeout" in ctx.wired else "out", late=late)
        return CombineOperator(combine, keys, ctx.extent != "item", waiting)

    def _made(self, made: Schema, ctx: SchemaContext) -> Schemas:
        found = {port.name: made for port in self.output_ports()}
        if "late" in found and "left" in ctx.inputs:
            found["late"] = late_schema(ctx.inputs["left"], ctx.inputs["right"])
        return found

    def _check_waiting(self, ctx: SchemaContext) -> None:
        """Parameters that are of no use with others."""
        if self.timeout_ms is not None and self.mode in ("append", "first"):
            message = f"in mode {self.mode} no item waits for another."
            ctx.report(CONTRADICTION, message, param="timeout_ms", mend="Leave `timeout` out.")
        elif self.timeout_ms is not None and ctx.extent != "item":
            message = f"executions are told to end here ({ctx.extent}), and wait for that."
            ctx.report(CONTRADICTION, message, param="timeout_ms", mend="Leave `timeout` out.")
        elif self.others != "cancel" and self.mode != "first":
            ctx.report(CONTRADICTION, "no branch is first.", param="others", mend="Leave `others` out.")
        elif self.mode == "first" and ctx.extent != "item":
            message = f"an execution of many items ({ctx.extent}) has no first branch."
            mend = "Use choose, or a trigger that begins one for each item."
            ctx.report(CONTRADICTION, message, param="mode", mend=mend)

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
