"""What `window` and `aggregate` compute: the form that users fill in, its types, and the functions made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from streamflow.model.types import Type
from streamflow.nodes.checks import CONTRADICTION, WRONG_TYPE
from streamflow.operators.aggregates import Name, Plain, result_type
from streamflow.operators.errors import label
from streamflow.operators.extremes import Extreme, Top
from streamflow.operators.folding import Folding
from streamflow.operators.folds import Fold
from streamflow.operators.sketches import ApproxCountDistinct, Quantiles
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import SchemaContext, param

CANNOT_TAKE_BACK = frozenset({"max_by", "min_by", "top", "approx_count_distinct", "quantiles"})
_TAKES = {"max_by": {"by"}, "min_by": {"by"}, "top": {"by", "k"}, "quantiles": {"q"}}
_NEEDS = {"max_by": {"by"}, "min_by": {"by"}, "top": {"k"}, "quantiles": {"q"}}

_MENDS = {"by": "Say what is compared, such as `by: price`.", "k": "Set `k: 3`.", "q": "Set `q: [0.5, 0.99]`."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """A function, and what it is computed of."""

    function: Name = param(
        help="count (items, or values of `of`), sum, mean, min, max, first, last, collect (a list), count_distinct, "
        "join (one text), max_by and min_by (`of` where `by` is greatest or least), top (a list of the `k` greatest "
        "values), approx_count_distinct (standard error 1.6 %, in little state), or quantiles (a list, within 0.8 %)."
    )
    of: Expression | None = param(default=None, help="The value of each item. Only count can do without.")
    separator: str = param(default=", ", help="join: what stands between the texts.")
    by: Expression | None = param(
        default=None, help="max_by, min_by, top: what is compared. top gives both, as `value` and `by`."
    )
    k: int | None = param(default=None, ge=1, le=1_000, help="top: how many.")
    q: tuple[float, ...] | None = param(
        default=None, help="quantiles: which, from 0 (the least) to 1 (the greatest), such as `[0.5, 0.99]`."
    )


def aggregated(ctx: SchemaContext, name: str, one: Aggregation) -> Type | None:
    """Type of a field; None if there is none, which is reported."""
    where = f"fields.{name}"
    for what in ("by", "k", "q"):
        given = getattr(one, what) is not None
        if given and what not in _TAKES.get(one.function, ()):
            ctx.report(CONTRADICTION, f"{one.function} has no `{what}`.", param=f"{where}.{what}", mend="Leave it out.")
        elif not given and what in _NEEDS.get(one.function, ()):
            ctx.report(CONTRADICTION, f"{one.function} needs `{what}`.", param=where, mend=_MENDS[what])
            return None
    if one.q is not None and not all(0 <= q <= 1 for q in one.q):
        ctx.report(CONTRADICTION, "a quantile lies from 0 to 1.", param=f"{where}.q", mend="Write 0.99 for 99 %.")
    of = None if one.of is None else ctx.typeof(one.of, param=f"{where}.of")
    by = None if one.by is None else ctx.typeof(one.by, param=f"{where}.by")
    found = result_type(one.function, of, by)
    if isinstance(found, Type):
        return found
    mend = "Convert untyped values with long(), double() or string()." if of is not None else ""
    ctx.report(WRONG_TYPE, f"{found}.", param=where, mend=mend)
    return None


def expressions_of(fields: Mapping[str, Aggregation]) -> tuple[dict[str, Expression], dict[str, str]]:
    """(expressions to evaluate by column, how messages name them)."""
    expressions: dict[str, Expression] = {}
    labels: dict[str, str] = {}
    for at, (name, one) in enumerate(fields.items()):
        for column, what, expression in ((f"@:v{at}", "of", one.of), (f"@:w{at}", "by", one.by)):
            if expression is not None:
                expressions[column], labels[column] = expression, label(f"fields.{name}.{what}", expression)
    return expressions, labels


def fold_of(at: int, name: str, one: Aggregation, types: Mapping[str, Type], out: Type) -> Folding:
    """The function of field number `at`, over the columns of `expressions_of`. `types`: theirs; `out`: of the row."""
    made = out.field(name)
    assert made is not None
    column, by = (f"@:v{at}" if one.of is not None else None), (f"@:w{at}" if one.by is not None else None)
    if column is None:
        return Fold(name, "count", None, None, made.type)
    of = types[column]
    if one.function == "top":
        return Top(name, column, by, of, types[by or column], made.type, one.k or 1)
    if one.function in ("max_by", "min_by"):
        assert by is not None
        return Extreme(name, one.function, column, by, of, types[by], made.type)
    if one.function == "approx_count_distinct":
        return ApproxCountDistinct(name, column, of)
    if one.function == "quantiles":
        return Quantiles(name, column, one.q or (), made.type)
    return Fold(name, cast(Plain, one.function), column, of, made.type, one.separator)
