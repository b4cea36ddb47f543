"""dedupe: the first item of each key, and not what repeats it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import TS, WM
from streamflow.nodes.checks import TIME_MS_MAX, check_key
from streamflow.operators.deduping import STORE, DedupeOperator
from streamflow.operators.errors import label
from streamflow.operators.keyed import KEY_VALUE
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedupe(Node):
    """Pass the first item of each key, and drop what repeats it within `within` of event time.

    An item passes when no item of its key that passed before it, in order of arrival, has an event time less than
    `within` away, earlier or later. So repeats do not prolong the time: of a key that never rests one item passes every
    `within`. The others leave by the port `duplicates`; where nothing is wired to it they are filtered.

    Items whose event time lies more than `grace` behind the watermark leave by the port `late`: what they might repeat
    may have been forgotten. Items with a null key are filtered. The event time of the trigger (`time`, `disorder`)
    decides, never when an item is processed.
    """

    spec: ClassVar = NodeSpec(
        kind="dedupe",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        outputs=(
            Port(name="out"),
            Port(name="duplicates", help="Items that repeat one that passed."),
            Port(name="late", help="Items that come too late to be compared."),
        ),
        stores=(Store(name=STORE, help="When items of a key passed."),),
        needs=(TS, WM),
        icon="copy-minus",
        example="once: {type: dedupe, key: payment_id, within: 1h}",
    )
    key: Expression = param(help="What makes two items the same: text, bytes, a number, a bool or a time.")
    within_ms: int = param(ge=1, le=TIME_MS_MAX, help="How near in event time an item is a repeat.")
    grace_ms: int | None = param(
        default=None,
        ge=0,
        le=TIME_MS_MAX,
        help="How far behind the watermark an item is still compared. Left out: as far as `within`.",
    )

    def scatters_executions(self) -> bool:
        return False  # items pass at once, or never

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        return dict.fromkeys(("out", "duplicates", "late"), ctx.inputs["in"])

    def operator(self, ctx: BuildContext) -> Operator:
        grace_ms = self.within_ms if self.grace_ms is None else self.grace_ms
        projection = ctx.projection({KEY_VALUE: self.key})
        labels, keeps = {KEY_VALUE: label("key", self.key)}, "duplicates" in ctx.wired
        return DedupeOperator(projection, labels, self.within_ms, grace_ms, keeps)
