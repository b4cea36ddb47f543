"""join: items of two streams meet by key and event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.expressions import compile_projection
from streamflow.model.batch import TS, WM
from streamflow.model.types import BOOL
from streamflow.nodes.checks import COLLISION, TIME_MS_MAX, WRONG_TYPE, report_key
from streamflow.nodes.join_checks import check_on, check_times
from streamflow.nodes.join_fields import joined_schema, late_schema, outputs_of, pair_schema
from streamflow.operators.errors import label
from streamflow.operators.join_pairs import KEY_VALUE, ON, Condition, SideKey
from streamflow.operators.join_rows import JoinRows
from streamflow.operators.join_times import SIDES, AnyTime, AsOf, Interval, JoinTimes, SameWindow, Side
from streamflow.operators.joining import STORE, JoinOperator
from streamflow.operators.keys import comparable_keys, compared_keys
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Node):
    """Bring items of two streams together that have the same key and are near in time.

    `time` says what near means. interval: the right item is at most `before` earlier and `after` later than the left
    one. window: both are in the same window of `size`, which begins at a multiple of it. asof: each left item meets one
    right item, the latest that is not later than it, and not more than `within` earlier. unbounded: any times meet,
    and items are held for ever, or until event time has left them `retention` behind.

    `kind` says what comes out. inner: pairs. left, right, outer: pairs, and items of that side (of both) that met
    nobody. semi, anti: left items that met somebody, once each, or nobody; as they are.

    A pair comes out when its second item comes; with asof when event time has passed the left item and `grace`, so
    that it does not matter in which order items came. An item waits until event time has passed the end of the times
    that it can meet, and `grace`. Then it leaves, alone, if `kind` keeps its side and it met nobody. An item that comes
    when it would have left already meets those that still wait; if there are none it leaves by the port `late`, as
    `{left: …}` or `{right: …}`. Items with a null key meet nobody: where they are kept they come out at once, and are
    filtered elsewhere.

    A pair has the fields of both sides, those of one side under a prefix if you set it. A key that is a field of that
    name on both sides is there once. Items that are no records are fields named `left` and `right`. Event time is the
    later of the two.
    """

    spec: ClassVar = NodeSpec(
        kind="join",
        category="keyed",
        inputs=(Port(name="left", keyed=True), Port(name="right", keyed=True)),
        outputs=(
            Port(name="out"),
            Port(name="late", help="Items that came when nobody waited for them any more, as `left` or `right`."),
        ),
        stores=(Store(name=STORE, help="Items of both sides that may still meet others."),),
        needs=(TS, WM),
        icon="join",
        example="paid: {type: join, key: order_id, before: 1m, after: 1h, kind: left, right_prefix: payment_}",
    )
    key: Expression | None = param(default=None, help="What items of both sides that belong together have in common.")
    left_key: Expression | None = param(default=None, help="The same of left items, where it is another expression.")
    right_key: Expression | None = param(default=None, help="The same of right items.")
    on: Expression | None = param(
        default=None, help="What a pair must fulfil besides, over `left` and `right`: `left.price <= right.limit`."
    )
    kind: Literal["inner", "left", "right", "outer", "semi", "anti"] = param(
        default="inner", help="Which items come out."
    )
    time: Literal["interval", "window", "asof", "unbounded"] = param(default="interval", help="Which times meet.")
    before_ms: int | None = param(
        default=None,
        ge=-TIME_MS_MAX,
        le=TIME_MS_MAX,
        help="interval: how much earlier than the left item the right one may be (0). Negative: must be later.",
    )
    after_ms: int | None = param(
        default=None, ge=-TIME_MS_MAX, le=TIME_MS_MAX, help="interval: how much later the right item may be (0)."
    )
    size_ms: int | None = param(default=None, ge=1, le=TIME_MS_MAX, help="window: its length.")
    within_ms: int | None = param(
        default=None, ge=0, le=TIME_MS_MAX, help="asof: how much earlier than the left item the right one may be."
    )
    retention_ms: int | None = param(
        default=None, ge=0, le=TIME_MS_MAX, help="unbounded: how long items are held. Left out: for ever."
    )
    grace_ms: int = param(
        default=0, ge=0, le=TIME_MS_MAX, help="How much longer items wait when event time has passed their end."
    )
    left_prefix: str = param(default="", help="Put before names of left fields.")
    right_prefix: str = param(default="", help="Put before names of right fields.")

    def makes_new_items(self) -> bool:
        return True

    def gives_several(self) -> bool:
        return True

    def keys(self) -> Mapping[Side, tuple[str, Expression | None]]:
        """(parameter, expression) of each side's key."""
        return {
            "left": ("left_key", self.left_key) if self.left_key is not None else ("key", self.key),
            "right": ("right_key", self.right_key) if self.right_key is not None else ("key", self.key),
        }

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        check_times(self, ctx)
        if any(side not in ctx.inputs for side in SIDES):
            return {}
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        self._check_keys(ctx)
        if self.on is not None:
            check_on(ctx, self.on, pair_schema(left, right))
        out, twice = joined_schema(self, left, right)
        for name in twice:
            ctx.report(
                COLLISION,
                f"both sides have a field {name!r}.",
                param="right_prefix",
                mend="Set right_prefix: right_, or left_prefix, or take the field out before.",
            )
        return {"out": out, "late": late_schema(left, right)}

    def operator(self, ctx: BuildContext) -> Operator:
        left, right = ctx.inputs["left"], ctx.inputs["right"]
        projections, types = {}, {}
        for side, (_, expression) in self.keys().items():
            assert expression is not None
            projections[side] = ctx.projection({KEY_VALUE: expression}, port=side)
            types[side] = projections[side].types[KEY_VALUE]
        compare, key_type = compared_keys(types["left"], types["right"])
        keys = {
            side: SideKey(projections[side], {KEY_VALUE: label(name, expression)}, compare(types[side]))
            for side, (name, expression) in self.keys().items()
            if expression is not None
        }
        rows = JoinRows(
            schema=ctx.outputs["out"],
            late=ctx.outputs["late"],
            outputs=outputs_of(self, left, right),
            key_type=key_type,
            left_time=self.kind in ("semi", "anti"),
        )
        return JoinOperator(self.kind, self._times(), keys, rows, self._condition(ctx))

    def _times(self) -> JoinTimes:
        if self.time == "interval":
            return Interval(self.before_ms or 0, self.after_ms or 0, self.grace_ms)
        if self.time == "window":
            return SameWindow(self.size_ms or 1, self.grace_ms)
        if self.time == "asof":
            return AsOf(self.within_ms or 0, self.grace_ms)
        return AnyTime(self.retention_ms)

    def _condition(self, ctx: BuildContext) -> Condition | None:
        if self.on is None:
            return None
        scope = Scope(item=pair_schema(ctx.inputs["left"], ctx.inputs["right"]), vars=ctx.vars)
        projection, _ = compile_projection({ON: self.on}, scope, expect={ON: BOOL.optional()})
        assert projection is not None, "the compiler checked it"
        return Condition(projection, {ON: label("on", self.on)})

    def _check_keys(self, ctx: SchemaContext) -> None:
        found = {}
        for side, (name, expression) in self.keys().items():
            if expression is not None:
                found[side] = ctx.typeof(expression, param=name, port=side), name, expression
                report_key(ctx, found[side][0], expression, param=name)
        if len(found) == 2:
            (one, _, a), (two, name, b) = found["left"], found["right"]
            if not comparable_keys(one, two):
                ctx.report(
                    WRONG_TYPE,
                    f"`{a.text}` is {one} on the left and `{b.text}` {two} on the right: such keys are never equal.",
                    param=name,
                    mend="Convert one of them, with long() or string().",
                )
