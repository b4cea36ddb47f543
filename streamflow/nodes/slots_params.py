"""Parameters of `slots`, of the whole one and of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamflow.nodes.checks import CONTRADICTION, TIME_MS_MAX, WRONG_TYPE, check_key
from streamflow.operators.slot_queue import SlotRules
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, SchemaContext, param

SLOTS_MAX = 100_000
QUEUE_MAX = 1_000_000
_WHOLE = ("int", "long", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateForm:
    """So many executions in a period, evenly spaced but for `burst`. A turn that nobody takes is lost."""

    executions: int = param(ge=1, le=1_000_000, help="How many begin in each period, on the long run.")
    per_ms: int = param(default=1_000, ge=1, le=TIME_MS_MAX, help="Length of a period.")
    burst: int | None = param(
        default=None,
        ge=1,
        le=1_000_000,
        help="How many may begin at once, where fewer than the rate allows began before. Left out: as many as the rate "
        "allows in 200 ms, so that a late reading of the clock loses none.",
    )

    @property
    def at_once(self) -> int:
        """How many may begin at once."""
        return self.burst or max(1, 200 * self.executions // self.per_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsBase(Node):
    """What all of them are told."""

    executions: int | None = param(
        default=None,
        ge=1,
        le=SLOTS_MAX,
        help="How many executions are under way at once behind it. Left out: any number.",
    )
    items: int | None = param(
        default=None,
        ge=1,
        le=SLOTS_MAX,
        help="Instead of `executions`: how many items of each execution are under way at once behind it.",
    )
    per: Expression | None = param(
        default=None, help="With `executions`: what has a share of the slots, such as a customer."
    )
    share: int = param(default=1, ge=1, le=SLOTS_MAX, help="With `per`: how many slots each of these may have.")
    rate: RateForm | None = param(default=None, help="How many executions begin in a period. Left out: any number.")
    priority: Expression | None = param(
        default=None,
        help="A whole number; of those that wait the greatest goes first, of equal ones the first to come.",
    )
    aging_ms: int | None = param(
        default=None,
        ge=1,
        le=TIME_MS_MAX,
        help="With `priority`: to wait for so long counts as much as one more of it. Left out: it counts nothing.",
    )
    queue_max: int = param(default=10_000, ge=1, le=QUEUE_MAX, help="How many executions wait here.")
    when_full: Literal["wait", "fail"] = param(
        default="wait",
        help="What becomes of more: they stay on the topic before, or fail with `queue_full`.",
    )
    partitions: int = param(default=4, ge=1, le=10_000, help="In how many partitions executions go on.")

    def gives_several(self) -> bool:
        return False

    @property
    def counts(self) -> bool:
        """Whether it has to know what is under way."""
        return self.executions is not None or self.items is not None

    def rules(self) -> SlotRules:
        rate = self.rate
        return SlotRules(
            slots_max=self.executions or (SLOTS_MAX if self.items else None),
            share_max=self.items or (None if self.per is None else self.share),
            rate_count=0 if rate is None else rate.executions,
            rate_per_ms=1_000 if rate is None else rate.per_ms,
            burst=1 if rate is None else rate.at_once,
            aging_ms=self.aging_ms or 0,
            queue_max=self.queue_max,
        )

    def check(self, ctx: SchemaContext) -> None:
        """Parameters that go together, and types of expressions over the items."""
        if not self.counts and self.rate is None:
            ctx.report(
                CONTRADICTION,
                "nobody has to wait: neither `executions`, `items` nor `rate` is given.",
                mend="Give `executions`, how many are under way at once, `items`, how many items of each, or `rate`, "
                "how many begin in a period.",
            )
        if self.executions is not None and self.items is not None:
            ctx.report(
                CONTRADICTION, "slots are for `executions` or for `items` of executions.", param="items",
                mend="Put two nodes of kind slots behind each other: the one for executions right behind the trigger.",
            )  # fmt: skip
        for name, needed in (("per", "executions"), ("aging_ms", "priority")):
            if getattr(self, name) is not None and getattr(self, needed) is None:
                message = f"`{name.removesuffix('_ms')}` goes with `{needed}`."
                ctx.report(CONTRADICTION, message, param=name, mend=f"Give `{needed}`, or leave it out.")
        if self.per is not None:
            check_key(ctx, self.per, param="per")
        if self.priority is not None:
            found = ctx.typeof(self.priority, param="priority")
            if found.kind not in _WHOLE:
                ctx.report(
                    WRONG_TYPE, f"`{self.priority.text}` is {found}, not a whole number.", param="priority",
                    mend="Convert it with long().",
                )  # fmt: skip
