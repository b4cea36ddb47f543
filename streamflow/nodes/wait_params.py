"""Parameters of `wait`, of the whole one and of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from streamflow.nodes.checks import CONTRADICTION, TIME_MS_MAX, WRONG_TYPE
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, SchemaContext, SchemaRef, param

EXECUTION_KEY: Final = Expression("meta.execution")
_WHOLE: Final = ("int", "long", "any")
_DURATIONS: Final = (*_WHOLE, "float", "double")
_TIMES: Final = (*_WHOLE, "timestamp", "date")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitBase(Node):
    """What all of them are told."""

    for_ms: Expression | None = param(
        default=None, help="How long each item waits: `10m`, or an expression that gives milliseconds."
    )
    until: Expression | None = param(
        default=None, help="Until when: a timestamp, a date (midnight UTC), or a long of ms since 1970."
    )
    signal: str | None = param(
        default=None, min_length=1, help="Name of the signal that each item waits for (`streamflow signal`)."
    )
    key: Expression | None = param(
        default=None,
        help="With `signal`: what a signal's key is compared with, as text. Left out: the execution's id.",
    )
    timeout_ms: Expression | None = param(
        default=None,
        help="With `signal`: how long at most, `1h` or an expression that gives milliseconds; then the item leaves by "
        "port `timeout`, or fails with `timed_out` where nothing is connected there. Left out: for ever.",
    )
    answers: Literal["all", "one"] = param(
        default="all", help="With `signal`: whether one answers all items that wait for its key, or the first of them."
    )
    schema: SchemaRef | None = param(
        default=None, help="With `signal`: schema of the signal's payload. Left out: untyped JSON."
    )
    field: str = param(default="signal", min_length=1, help="With `signal`: the field that gets the signal's payload.")
    signed: bool = param(
        default=False, help="With `signal`: only signals count that carry a token signed for this node and execution."
    )
    keep_early_ms: int = param(
        default=3_600_000,
        ge=1,
        le=TIME_MS_MAX,
        help="With `signal`: how long a signal is kept that no item waits for. Then it is a dead letter.",
    )
    keep_early_max: int = param(
        default=100,
        ge=0,
        le=10_000,
        help="With `signal`: how many of a key are kept so; more are dead letters at once.",
    )
    repeats_ms: int = param(
        default=86_400_000,
        ge=1,
        le=TIME_MS_MAX,
        help="With `signal`: how long the `id` of a signal is known, so that its repeats do nothing.",
    )
    repeats_max: int = param(
        default=100,
        ge=1,
        le=10_000,
        help="With `signal`: how many ids of a key are known so; the oldest are forgotten first.",
    )
    waiting_max: int = param(
        default=1_000, ge=1, le=10_000, help="With `signal`: how many items of a key may wait; more fail."
    )

    def gives_several(self) -> bool:
        return False

    def hears_signals(self) -> bool:
        return self.signal is not None

    def check_times(self, ctx: SchemaContext) -> None:
        """Types of what says how long."""
        for name in ("for_ms", "timeout_ms", "until"):
            expression = getattr(self, name)
            if expression is None:
                continue
            kinds = _TIMES if name == "until" else _DURATIONS
            found = ctx.typeof(expression, param=name)
            if found.kind not in kinds and found.kind != "null":
                what = "a timestamp, a date, or a long of ms since 1970" if name == "until" else "a number of ms"
                ctx.report(
                    WRONG_TYPE, f"`{expression.text}` is {found}, not {what}.", param=name, mend="Convert it to that."
                )

    def check_mode(self, ctx: SchemaContext) -> bool:
        """Exactly one thing to wait for, and nothing that goes with another."""
        given = [name for name in ("for_ms", "until", "signal") if getattr(self, name) is not None]
        if len(given) != 1:
            said = "none is given" if not given else " and ".join(f"`{n.removesuffix('_ms')}`" for n in given)
            ctx.report(
                CONTRADICTION,
                f"an item waits `for` a duration, `until` a time, or for a `signal`; found: {said}.",
                mend="Give exactly one of them. A limit to waiting for a signal is `timeout`.",
            )
            return False
        if self.signal is None:
            for name in ("key", "timeout_ms", "schema", "signed"):
                if getattr(self, name):
                    short = name.removesuffix("_ms")
                    message = f"`{short}` goes with `signal`, not with `{given[0].removesuffix('_ms')}`."
                    ctx.report(CONTRADICTION, message, param=name, mend="Leave it out.")
        return True
