"""Parameters of a join that do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamflow.expressions import references, typecheck
from streamflow.model.types import BOOL, Schema
from streamflow.nodes.checks import CONTRADICTION, NAME, WRONG_TYPE, is_field_name
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import SchemaContext

if TYPE_CHECKING:
    from streamflow.nodes.join import Join

# By `time`: what it takes, what of that it needs, and an example.
_TAKES: Final = {
    "interval": ({"before", "after"}, "`before` or `after`", "Set before: 5m."),
    "window": ({"size"}, "`size`", "Set size: 10m."),
    "asof": ({"within"}, "`within`", "Set within: 1h."),
    "unbounded": ({"retention"}, "", ""),
}
_KINDS: Final = {"asof": ("inner", "left"), "unbounded": ("inner", "semi")}


def check_times(node: Join, ctx: SchemaContext) -> None:
    """Report what `time` needs and lacks, and what it cannot have."""
    takes, needed, example = _TAKES[node.time]
    given = {n for n in ("before", "after", "size", "within", "retention") if getattr(node, f"{n}_ms") is not None}
    for name in sorted(given - takes):
        ctx.report(
            CONTRADICTION, f"a join of time {node.time} has no `{name}`.", param=f"{name}_ms", mend="Leave it out."
        )
    if needed and not given & takes:
        ctx.report(CONTRADICTION, f"a join of time {node.time} needs {needed}.", param="time", mend=example)
    if (node.before_ms or 0) + (node.after_ms or 0) < 0:
        ctx.report(
            CONTRADICTION,
            "no time is both after the earliest and before the latest that may meet: `before` and `after` together "
            "are negative.",
            param="before_ms",
            mend="Make `after` at least as much as `before` is below 0.",
        )
    if node.time == "unbounded" and node.grace_ms:
        ctx.report(
            CONTRADICTION,
            "a join of time unbounded waits for no time, so it has no `grace`.",
            param="grace_ms",
            mend="Leave it out, or set `retention`.",
        )
    kinds = _KINDS.get(node.time)
    if kinds is not None and node.kind not in kinds:
        why = "no time tells that an item meets nobody" if node.time == "unbounded" else "it goes by left items"
        ctx.report(
            CONTRADICTION,
            f"a join of time {node.time} cannot be of kind {node.kind}: {why}.",
            param="kind",
            mend=f"Use kind {' or '.join(kinds)}, or time: interval.",
        )
    if node.time == "asof" and node.on is not None:
        ctx.report(
            CONTRADICTION,
            "a join of time asof takes the latest item, whatever `on` says of it.",
            param="on",
            mend="Filter right items before the join, or pairs behind it.",
        )
    for name in ("left_prefix", "right_prefix"):
        prefix = getattr(node, name)
        if prefix and not is_field_name(prefix):
            ctx.report(
                NAME,
                f"{prefix!r} cannot begin the name of a field.",
                param=name,
                mend="Use letters, digits and underscores, not beginning with a digit.",
            )


def check_on(ctx: SchemaContext, on: Expression, pair: Schema) -> None:
    """A condition is a bool over `left` and `right`, and sees nothing else."""
    _, findings = typecheck(on, Scope(item=pair, vars=ctx.vars), expect=BOOL.optional())
    for finding in findings:
        ctx.report(finding.code, finding.message, param="on", mend=finding.mend, severity=finding.severity)
    if not findings and references(on).meta:
        ctx.report(
            WRONG_TYPE,
            "a pair has no `meta`: it is made of two items.",
            param="on",
            mend="Put what you need into a field before the join.",
        )
