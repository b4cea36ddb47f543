"""throttle: so many items of each key in a period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import TS, WM
from streamflow.nodes.checks import TIME_MS_MAX, check_key
from streamflow.operators.errors import label
from streamflow.operators.keyed import KEY_VALUE
from streamflow.operators.throttling import STORE, ThrottleOperator
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Node):
    """Pass at most `count` items of each key in every period of `per`, by event time.

    Periods begin at multiples of `per` since 1970, as tumbling windows do: the first `count` items of a period pass, in
    order of arrival, and the others leave by the port `over`; where nothing is wired to it they are filtered. Two
    periods follow each other without a pause, so a span of `per` that lies across both may hold twice as many.

    Items whose event time lies more than `grace` behind the watermark leave by the port `late`: how many passed may
    have been forgotten. Items with a null key are filtered. Nothing waits: to give the last item of a burst when it is
    over, take debounce.
    """

    spec: ClassVar = NodeSpec(
        kind="throttle",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        outputs=(
            Port(name="out"),
            Port(name="over", help="Items beyond `count` in their period."),
            Port(name="late", help="Items that come too late to be counted."),
        ),
        stores=(Store(name=STORE, help="How many items of a key passed in each open period."),),
        needs=(TS, WM),
        icon="gauge",
        example="alerts: {type: throttle, key: device, count: 3, per: 1h}",
    )
    key: Expression = param(help="What an item belongs to: text, bytes, a number, a bool or a time.")
    count: int = param(default=1, ge=1, help="How many items of a key pass in a period.")
    per_ms: int = param(ge=1, le=TIME_MS_MAX, help="Length of a period.")
    grace_ms: int | None = param(
        default=None,
        ge=0,
        le=TIME_MS_MAX,
        help="How far behind the watermark an item still counts. Left out: as far as `per`.",
    )

    def scatters_executions(self) -> bool:
        return False  # items pass at once, or never

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        return dict.fromkeys(("out", "over", "late"), ctx.inputs["in"])

    def operator(self, ctx: BuildContext) -> Operator:
        grace_ms = self.per_ms if self.grace_ms is None else self.grace_ms
        projection = ctx.projection({KEY_VALUE: self.key})
        labels = {KEY_VALUE: label("key", self.key)}
        return ThrottleOperator(projection, labels, self.count, self.per_ms, grace_ms, "over" in ctx.wired)
