"""debounce: the last item of each burst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.batch import TS, WM
from streamflow.nodes.checks import CONTRADICTION, TIME_MS_MAX, check_key
from streamflow.operators.debouncing import STORE, DebounceOperator
from streamflow.operators.errors import label
from streamflow.operators.keyed import KEY_VALUE
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce(Node):
    """Pass an item when no other of its key has followed it within `quiet` of event time.

    Items of a key that follow each other in less than `quiet` are a burst. Of each burst the latest item comes out, and
    of those with the same time the one that came last; the others end here. It comes out when event time has passed
    `quiet` (and `grace`) since, with its own event time. A burst that does not end is cut after `at_most`: its items
    from its first one's time on until `at_most` later are one burst, and the next begins another.

    Order of arrival plays no part: items that come out of order, up to `disorder` of the trigger and `grace`, give what
    they would have given in order. Items whose event time lies more than `grace` behind the watermark leave by the port
    `late`. Items with a null key are filtered.
    """

    spec: ClassVar = NodeSpec(
        kind="debounce",
        category="keyed",
        inputs=(Port(name="in", keyed=True),),
        outputs=(
            Port(name="out", help="The last item of each burst."),
            Port(name="late", help="Items that come when their burst may have been over."),
        ),
        stores=(Store(name=STORE, help="Bursts that are not over."),),
        needs=(TS, WM),
        icon="timer",
        example="settled: {type: debounce, key: document, quiet: 5s, at_most: 1m}",
    )
    key: Expression = param(help="What an item belongs to: text, bytes, a number, a bool or a time.")
    quiet_ms: int = param(ge=1, le=TIME_MS_MAX, help="How long no other item of the key may follow.")
    at_most_ms: int | None = param(
        default=None, ge=1, le=TIME_MS_MAX, help="Length of a burst at most. Left out: as long as items follow."
    )
    grace_ms: int = param(
        default=0, ge=0, le=TIME_MS_MAX, help="How far behind the watermark an item still takes part."
    )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        if self.at_most_ms is not None and self.at_most_ms <= self.quiet_ms:
            ctx.report(
                CONTRADICTION,
                "a burst that ends after `at_most` never gets to be `quiet` for longer.",
                param="at_most_ms",
                mend="Make `at_most` longer than `quiet`, or leave it out.",
            )
        return dict.fromkeys(("out", "late"), ctx.inputs["in"])

    def operator(self, ctx: BuildContext) -> Operator:
        return DebounceOperator(
            ctx.projection({KEY_VALUE: self.key}),
            {KEY_VALUE: label("key", self.key)},
            ctx.inputs["in"],
            ctx.kept,
            self.quiet_ms,
            self.at_most_ms,
            self.grace_ms,
            ctx.remembered,
        )
