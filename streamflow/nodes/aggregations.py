"""What `window` and `aggregate` compute: the form that users fill in, its types, and the functions made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from streamflow.expressions.accumulate import accumulation, combination
from streamflow.model.types import ANY, Type
from streamflow.nodes.checks import CONTRADICTION, UNREADABLE, WRONG_TYPE
from streamflow.operators.aggregates import Name, Plain, result_type
from streamflow.operators.errors import label
from streamflow.operators.extremes import Extreme, Top
from streamflow.operators.folding import Folding
from streamflow.operators.folds import Fold
from streamflow.operators.sketches import ApproxCountDistinct, Quantiles
from streamflow.operators.window_code import Coded
from streamflow.operators.window_reduce import Reduced
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, FunctionRef, SchemaContext, SchemaRef, param

CANNOT_TAKE_BACK = frozenset({"max_by", "min_by", "top", "approx_count_distinct", "quantiles", "reduce", "code"})
ROW_BY_ROW = frozenset({"reduce", "code"})
MERGING = frozenset({"session", "sliding"})  # shapes whose windows put states together
_TAKES = {
    "max_by": {"by"}, "min_by": {"by"}, "top": {"by", "k"}, "quantiles": {"q"},
    "reduce": {"initial", "expression", "combine"}, "code": {"aggregator", "schema"},
}  # fmt: skip
_NEEDS = {
    "max_by": {"by"}, "min_by": {"by"}, "top": {"k"}, "quantiles": {"q"},
    "reduce": {"initial", "expression"}, "code": {"aggregator"},
}  # fmt: skip
_MENDS = {
    "by": "Say what is compared, such as `by: price`.",
    "k": "Set `k: 3`.",
    "q": "Set `q: [0.5, 0.99]`.",
    "initial": "Give the value before the first item, such as `initial: 0`.",
    "expression": "Give the next value, such as `expression: accumulator + amount`.",
    "aggregator": "Name a class, such as `aggregator: mypackage.stats:Spread`.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """A function, and what it is computed of."""

    function: Name = param(
        help="count (items, or values of `of`), sum, mean, min, max, first, last, collect (a list), count_distinct, "
        "join (one text), max_by and min_by (`of` where `by` is greatest or least), top (a list of the `k` greatest "
        "values), approx_count_distinct (standard error 1.6 %, in little state), or quantiles (a list, within 0.8 %). "
        "window only: reduce (by expressions), or code (Python)."
    )
    of: Expression | None = param(default=None, help="The value of each item. Only count and reduce can do without.")
    separator: str = param(default=", ", help="join: what stands between the texts.")
    by: Expression | None = param(
        default=None, help="max_by, min_by, top: what is compared. top gives both, as `value` and `by`."
    )
    k: int | None = param(default=None, ge=1, le=1_000, help="top: how many.")
    q: tuple[float, ...] | None = param(
        default=None, help="quantiles: which, from 0 (the least) to 1 (the greatest), such as `[0.5, 0.99]`."
    )
    initial: Expression | None = param(
        default=None, help="reduce: the value before the first item of a window; may name `vars`."
    )
    expression: Expression | None = param(
        default=None,
        help="reduce: the next value. `accumulator` is the one before; fields, `item` and `meta` are the item's.",
    )
    combine: Expression | None = param(
        default=None,
        help="reduce in session and sliding windows: what two values come to, `accumulator` and `other`, which came "
        "later. Each item is then a value of its own, made of `initial`, and these are combined in turn.",
    )
    aggregator: FunctionRef | None = param(
        default=None,
        help="code: `package.module:name` of an installed class, or of a function that gives an object, with `init()`, "
        "`add(state, item)` or `add_frame(state, frame)`, `result(state)`, and for session and sliding windows "
        "`merge(a, b)` (see `streamflow.sdk.aggregator`). States are JSON values of at most 1 MB.",
    )
    schema: SchemaRef | None = param(
        default=None, help="code: schema of the record that `result` returns. Left out: the value is untyped."
    )


def aggregated(ctx: SchemaContext, name: str, one: Aggregation, *, merges: bool = False) -> Type | None:
    """Type of a field; None if there is none, which is reported. `merges`: whether windows put states together."""
    where = f"fields.{name}"
    for what in ("by", "k", "q", "initial", "expression", "combine", "aggregator", "schema"):
        given = getattr(one, what) is not None
        if given and what not in _TAKES.get(one.function, ()):
            ctx.report(CONTRADICTION, f"{one.function} has no `{what}`.", param=f"{where}.{what}", mend="Leave it out.")
        elif not given and what in _NEEDS.get(one.function, ()):
            ctx.report(CONTRADICTION, f"{one.function} needs `{what}`.", param=where, mend=_MENDS[what])
            return None
    if one.q is not None and not all(0 <= q <= 1 for q in one.q):
        ctx.report(CONTRADICTION, "a quantile lies from 0 to 1.", param=f"{where}.q", mend="Write 0.99 for 99 %.")
    if one.function == "reduce":
        return _reduced(ctx, where, one, merges=merges)
    of = None if one.of is None else ctx.typeof(one.of, param=f"{where}.of")
    if one.function == "code":
        return _coded(ctx, where, one, of, merges=merges)
    by = None if one.by is None else ctx.typeof(one.by, param=f"{where}.by")
    found = result_type(one.function, of, by)
    if isinstance(found, Type):
        return found
    mend = "Convert untyped values with long(), double() or string()." if of is not None else ""
    ctx.report(WRONG_TYPE, f"{found}.", param=where, mend=mend)
    return None


def _reduced(ctx: SchemaContext, where: str, one: Aggregation, *, merges: bool) -> Type | None:
    assert one.initial is not None
    assert one.expression is not None
    if one.of is not None:
        mend = "Leave it out, and name what is needed in `expression`."
        ctx.report(CONTRADICTION, "reduce has no `of`.", param=f"{where}.of", mend=mend)
    if merges != (one.combine is not None):
        message, mend = (
            ("in session and sliding windows reduce needs `combine`, as values are put together there.",
             "Say what two values come to, such as `combine: accumulator + other`.")
            if merges
            else ("reduce has `combine` in session and sliding windows only.", "Leave it out.")
        )  # fmt: skip
        ctx.report(CONTRADICTION, message, param=where if merges else f"{where}.combine", mend=mend)
        return None
    scope = ctx.scope("in")
    made, findings = accumulation(one.initial, one.expression, scope)
    if made is not None and one.combine is not None:
        _, findings = combination(one.combine, made.type, scope)
    for expression, found in findings:
        what = "initial" if expression is one.initial else "combine" if expression is one.combine else "expression"
        ctx.report(found.code, found.message, param=f"{where}.{what}", mend=found.mend)
    return made.type if made is not None and not findings else None


def _coded(ctx: SchemaContext, where: str, one: Aggregation, of: Type | None, *, merges: bool) -> Type | None:
    assert one.aggregator is not None
    at = f"{where}.aggregator"
    if of is None:
        mend = "Say what it gets of each item, such as `of: price`, or `of: item` for the whole."
        ctx.report(WRONG_TYPE, "code needs `of`: what it is computed of.", param=where, mend=mend)
        return None
    maker = ctx.function(one.aggregator, param=at)
    if maker is None:
        return None
    try:
        made = maker()
    except Exception as error:  # a user's class may raise anything; it is reported, not passed over
        message = f"the aggregator could not be made: {type(error).__name__}: {error}."
        ctx.report(UNREADABLE, message, param=at, mend="Name a class, or a function, that takes no arguments.")
        return None
    wanted = ["init", "result", *(["merge"] if merges else [])]
    missing = [name for name in wanted if not callable(getattr(made, name, None))]
    if not any(callable(getattr(made, name, None)) for name in ("add", "add_frame")):
        missing.append("add")
    for name in missing:
        why = "session and sliding windows put states together" if name == "merge" else "see streamflow.sdk.aggregator"
        message = f"{one.aggregator.ref!r} has no method `{name}`: {why}."
        ctx.report(CONTRADICTION, message, param=at, mend=f"Write `{_METHODS[name]}`.")
    if one.schema is None:
        return None if missing else ANY
    schema = ctx.schema(one.schema, param=f"{where}.schema")
    if schema is not None and schema.kind != "record":
        ctx.report(WRONG_TYPE, f"the schema is {schema}, not a record.", param=f"{where}.schema", mend="Leave it out.")
        return None
    return None if missing else schema


_METHODS = {
    "init": "def init(self)", "add": "def add(self, state, item)", "merge": "def merge(self, a, b)",
    "result": "def result(self, state)",
}  # fmt: skip


def expressions_of(fields: Mapping[str, Aggregation]) -> tuple[dict[str, Expression], dict[str, str]]:
    """(expressions to evaluate by column, how messages name them)."""
    expressions: dict[str, Expression] = {}
    labels: dict[str, str] = {}
    for at, (name, one) in enumerate(fields.items()):
        for column, what, expression in ((f"@:v{at}", "of", one.of), (f"@:w{at}", "by", one.by)):
            if expression is not None:
                expressions[column], labels[column] = expression, label(f"fields.{name}.{what}", expression)
    return expressions, labels


def row_by_row(
    ctx: BuildContext, at: int, name: str, one: Aggregation, types: Mapping[str, Type], *, merges: bool
) -> Folding:
    """`fold_of` for reduce and code."""
    states = f"@:s{at}"
    if one.function == "code":
        made = ctx.outputs["out"].field(name)
        assert one.aggregator is not None
        assert made is not None
        source = f"@:v{at}"
        return Coded(name, states, ctx.function(one.aggregator)(), source, types[source], made.type, merges)
    assert one.initial is not None
    assert one.expression is not None
    scope, combine = ctx.scope("in"), None
    steps, findings = accumulation(one.initial, one.expression, scope)
    assert steps is not None, findings
    labels = [label(f"fields.{name}.expression", one.expression), ""]
    if one.combine is not None:
        combine, findings = combination(one.combine, steps.type, scope)
        assert combine is not None, findings
        labels[1] = label(f"fields.{name}.combine", one.combine)
    return Reduced(name, states, steps, combine, (labels[0], labels[1]))


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
