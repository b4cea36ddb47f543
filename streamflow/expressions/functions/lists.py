"""Functions on lists."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from streamflow.expressions.calendar import fits
from streamflow.expressions.failure import INVALID_ARGUMENT, TOO_LARGE, WRONG_TYPE, Fail
from streamflow.expressions.functions import operators
from streamflow.expressions.functions.sequences import as_list, element_of, same_type
from streamflow.expressions.functions.strings import CONCAT_TEXT
from streamflow.expressions.kinds import common
from streamflow.expressions.limits import LIST_ITEMS_MAX
from streamflow.expressions.signatures import Function, Implementation, function, signature
from streamflow.model.types import NULL, Type, array_of

TITLE = "Lists"
INTRO = "Nulls in a list take no part in sums and comparisons."


def _joined(types: Sequence[Type]) -> Type:
    found = common(types)
    assert found is not None
    return found.required()


def total_long(values: Iterable[int | None]) -> int:
    return fits(sum(v for v in values if v is not None))


def total(values: Iterable[float | None]) -> float:
    # Left to right, so that the order of additions, and so the last digit, is defined.
    result = 0.0
    for v in values:
        if v is not None:
            result += v
    return result


def _average(values: list[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return total(present) / len(present) if present else None


def _compare(a: Any, b: Any) -> int:
    a, b = operators._ordered(a, b)
    return -1 if operators.less(a, b) else int(operators.less(b, a))


def _sorted(values: list[Any]) -> list[Any]:
    present = [v for v in values if v is not None]
    kinds = set(map(type, present))
    if len(kinds) <= 1 and kinds <= {int, str, bool, bytes}:
        ordered = sorted(present)
    elif kinds <= {int, float, str, bool}:
        ordered = sorted(present, key=functools.cmp_to_key(_compare))
    else:
        raise Fail(WRONG_TYPE)
    return ordered + [None] * (len(values) - len(present))


def key_of(value: Any) -> Any:
    """A hashable stand-in: equal exactly when the values are (see operators.equal)."""
    match value:
        case bool() | None:
            return (type(value), value)
        case int() | float():
            return "nan" if value != value else value  # noqa: PLR0124
        case list():
            return ("list", *map(key_of, value))
        case dict():
            return ("dict", frozenset((k, key_of(v)) for k, v in value.items()))
        case _:
            return (type(value), value)


def _first_of_each(values: list[Any]) -> list[Any]:
    seen: set[Any] = set()
    found: list[Any] = []
    for v in values:
        key = key_of(v)
        if key not in seen:
            seen.add(key)
            found.append(v)
    return found


def _flatten(values: list[list[Any] | None]) -> list[Any]:
    found: list[Any] = []
    for inner in values:
        if inner is None:
            continue
        if type(inner) is not list:
            raise Fail(WRONG_TYPE)
        found += inner
        if len(found) > LIST_ITEMS_MAX:
            raise Fail(TOO_LARGE)
    return found


def _concat(*lists: list[Any]) -> list[Any]:
    found = [x for part in lists for x in part]
    if len(found) > LIST_ITEMS_MAX:
        raise Fail(TOO_LARGE)
    return found


def _range(start: int, stop: int, step: int) -> list[int]:
    if step == 0:
        raise Fail(INVALID_ARGUMENT)
    numbers = range(start, stop, step)
    if (stop - start) // step > LIST_ITEMS_MAX:
        raise Fail(TOO_LARGE)
    return list(numbers)


def _position(values: list[Any], wanted: Any) -> int:
    return next((i for i, v in enumerate(values) if v is not None and operators.equal(v, wanted)), -1)


def _pick(better: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def pick(*values: Any) -> Any:
        found = values[0]
        for v in values[1:]:
            if better(v, found):
                found = v
        return found

    return pick


def _of_list(pick: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    def apply(values: list[Any]) -> Any:
        present = [v for v in values if v is not None]
        return pick(*present) if present else None

    return apply


_COMPARABLE = ("long", "double", "string", "date", "time", "timestamp", "local")


_greatest = _pick(lambda v, found: operators.less(found, v))


_least = _pick(operators.less)


_greatest_any = _pick(lambda v, found: _compare(found, v) < 0)


_least_any = _pick(lambda v, found: _compare(v, found) < 0)


def _extreme(name: str, doc: str, pick: Callable[..., Any], pick_any: Callable[..., Any], expr: Any,
             *examples: tuple[str, str]) -> Function:  # fmt: skip
    scalars = [
        signature(f"{k} {k}", _joined, pick, variadic=k, alike=True, expr=expr if k == "long" else None)
        for k in _COMPARABLE
    ]
    lists = [signature(f"array<{k}>", element_of, _of_list(pick), nullable=True) for k in _COMPARABLE]

    def dynamic(*values: Any) -> Any:
        if len(values) > 1:
            return pick_any(*values)
        if type(values[0]) is not list:
            raise Fail(WRONG_TYPE)
        return _of_list(lambda *v: pick_any(*v) if len(v) > 1 else v[0])(values[0])

    return Function(name=name, doc=doc, signatures=(*scalars, *lists), examples=examples, dynamic=dynamic)


def _strict_horizontal(how: Any, parts: Sequence[pl.Expr]) -> pl.Expr:
    missing = functools.reduce(lambda a, b: a | b, [p.is_null() for p in parts])
    return pl.when(~missing).then(how(*parts))


def _chunk(values: list[Any], size: int) -> list[list[Any]]:
    if size < 1:
        raise Fail(INVALID_ARGUMENT)
    return [values[i : i + size] for i in range(0, len(values), size)]


def _sum_any(values: Any) -> Any:
    present = [v for v in as_list(values) if v is not None]
    if all(type(v) is int for v in present):
        return total_long(map(fits, present))
    return total(map(operators.as_double, present))


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="first",
        doc="The first item of a list; null when it is empty.",
        signatures=(
            signature(
                "array",
                element_of,
                lambda v: v[0] if v else None,
                nullable=True,
                make=lambda t: Implementation(py=lambda v: v[0] if v else None, expr=lambda e: e.list.first()),
            ),
        ),
        examples=(("first([3, 4])", "3"), ("first([])", "null")),
    ),
    Function(
        name="last",
        doc="The last item of a list; null when it is empty.",
        signatures=(
            signature(
                "array",
                element_of,
                nullable=True,
                make=lambda t: Implementation(py=lambda v: v[-1] if v else None, expr=lambda e: e.list.last()),
            ),
        ),
        examples=(("last([3, 4])", "4"),),
    ),
    Function(
        name="sum",
        doc="Sum of a list of numbers; 0 when it is empty.",
        signatures=(
            signature("array<long>", "long", total_long, fails=True),
            signature("array<double>", "double", total),
        ),
        examples=(("sum([1, 2, null])", "3"), ("sum([0.5, 1])", "1.5")),
        dynamic=_sum_any,
    ),
    function(
        "avg",
        "Mean of a list of numbers; null when it is empty.",
        "array<double>",
        "double",
        _average,
        ("avg([1, 2])", "1.5"),
        nullable=True,
        aliases=("mean",),
    ),
    _extreme(
        "max",
        "The greatest of several values, or of a list (null when it is empty).",
        _greatest,
        _greatest_any,
        lambda *e: _strict_horizontal(pl.max_horizontal, e),
        ("max(1, 3, 2)", "3"),
        ("max([1.5, null, 0.5])", "1.5"),
        ('max("a", "b")', '"b"'),
    ),
    _extreme(
        "min",
        "The least of several values, or of a list (null when it is empty).",
        _least,
        _least_any,
        lambda *e: _strict_horizontal(pl.min_horizontal, e),
        ("min(3, 1, 2)", "1"),
        ("min([])", "null"),
    ),
    Function(
        name="sort",
        doc="The items in ascending order, nulls last; NaN is greatest.",
        signatures=tuple(signature(f"array<{k}>", same_type, _sorted) for k in (*_COMPARABLE, "bool", "bytes")),
        examples=(("sort([3, 1, null, 2])", "[1, 2, 3, null]"),),
        dynamic=lambda values: _sorted(as_list(values)),
    ),
    function(
        "unique",
        "The items without repeats, each where it first stood.",
        "array",
        same_type,
        _first_of_each,
        ("unique([1, 2, 1])", "[1, 2]"),
        aliases=("distinct",),
    ),
    function(
        "flatten",
        "The items of the lists in a list.",
        "array<array>",
        lambda t: (t[0].element or NULL).required(),
        _flatten,
        ("flatten([[1], [2, 3]])", "[1, 2, 3]"),
        fails=True,
    ),
    Function(
        name="concat",
        doc="Texts joined to one, or lists joined to one.",
        signatures=(
            CONCAT_TEXT,
            signature("array", _joined, _concat, variadic="array", alike=True, fails=True),
        ),
        examples=(('concat("a", "b")', '"ab"'), ("concat([1], [2, 3])", "[1, 2, 3]")),
    ),
    function(
        "range",
        f"Whole numbers from `start` up to, not including, `stop`; at most {LIST_ITEMS_MAX:,}.",
        "long long",
        "array<long>",
        _range,
        ("range(0, 6, 2)", "[0, 2, 4]"),
        optional=(("long", 1),),
        fails=True,
    ),
    function(
        "all_of",
        "Whether every item of a list is true (three-valued: null when it hangs on a null).",
        "array<bool>",
        "bool",
        lambda v: False if False in v else None if None in v else True,
        ("all_of([true, 1 < 2])", "true"),
        nullable=True,
    ),
    function(
        "any_of",
        "Whether some item of a list is true (three-valued: null when it hangs on a null).",
        "array<bool>",
        "bool",
        lambda v: True if True in v else None if None in v else False,
        ("any_of([false, 1 < 2])", "true"),
        nullable=True,
    ),
    Function(
        name="position",
        doc="Position of the first equal item of a list, -1 when there is none.",
        signatures=tuple(
            signature(f"array<{k}> {k}", "long", _position) for k in ("long", "double", "string", "bool", "date")
        ),
        examples=(('position(["a", "b"], "b")', "1"),),
        dynamic=lambda values, wanted: _position(as_list(values), wanted),
    ),
    function(
        "compact",
        "The items of a list that are not null.",
        "array",
        same_type,
        lambda v: [x for x in v if x is not None],
        ("compact([1, null])", "[1]"),
        expr=lambda e: e.list.drop_nulls(),
    ),
    function(
        "chunk",
        "A list cut into lists of so many items.",
        "array long",
        lambda t: array_of(t[0].required()),
        _chunk,
        ("chunk([1, 2, 3], 2)", "[[1, 2], [3]]"),
        fails=True,
    ),
)
