"""What the policies of a workflow say of how many executions are under way: read like a node's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamflow.nodes.checks import TIME_MS_MAX
from streamflow.nodes.slots import Slots
from streamflow.nodes.slots_params import QUEUE_MAX, SLOTS_MAX, RateForm
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import param


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyForm:
    """How many executions of the workflow are under way at once, and which of those that wait goes first."""

    executions: int | None = param(
        default=None, ge=1, le=SLOTS_MAX, help="How many are under way at once. Left out: any number."
    )
    per: Expression | None = param(default=None, help="What has a share of the slots, such as a customer.")
    share: int = param(default=1, ge=1, le=SLOTS_MAX, help="With `per`: how many slots each of these may have.")
    priority: Expression | None = param(
        default=None, help="A whole number, over the item of the trigger; the greatest goes first."
    )
    aging_ms: int | None = param(
        default=None, ge=1, le=TIME_MS_MAX, help="To wait for so long counts as much as one more of `priority`."
    )
    queue_max: int = param(default=10_000, ge=1, le=QUEUE_MAX, help="How many executions wait for a slot.")
    when_full: Literal["wait", "fail"] = param(
        default="wait", help="What becomes of more: they stay on the topic before, or fail with `queue_full`."
    )


def slots_of(concurrency: ConcurrencyForm | None, rate: RateForm | None, partitions: int) -> Slots | None:
    """The node that these policies ask for; None: none."""
    if concurrency is None and rate is None:
        return None
    asked = concurrency or ConcurrencyForm()
    return Slots(
        executions=asked.executions,
        per=asked.per,
        share=asked.share,
        rate=rate,
        priority=asked.priority,
        aging_ms=asked.aging_ms,
        queue_max=asked.queue_max,
        when_full=asked.when_full,
        partitions=partitions,
    )
