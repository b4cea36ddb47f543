"""Functions on lists, and those that take texts and maps as well: length, contains, slice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from streamflow.expressions.calendar import fits
from streamflow.expressions.columns import errors_where, python_kernel
from streamflow.expressions.failure import INVALID_ARGUMENT, MISSING_INDEX, TOO_LARGE, WRONG_TYPE, Fail
from streamflow.expressions.functions import operators
from streamflow.expressions.functions.strings import CONCAT_TEXT, contains_text
from streamflow.expressions.kinds import common
from streamflow.expressions.limits import LIST_ITEMS_MAX
from streamflow.expressions.signatures import Argument, Function, Implementation, Outcome, function, signature
from streamflow.model.types import BOOL, NULL, Type, array_of

TITLE = "Lists"
INTRO = "Positions start at 0; negative ones count from the end. Nulls in a list take no part in sums and comparisons."


def element_of(types: Sequence[Type]) -> Type:
    return (types[0].element or NULL).optional() if types[0].element is not None else NULL


def _same(types: Sequence[Type]) -> Type:
    return types[0].required()


def _joined(types: Sequence[Type]) -> Type:
    found = common(types)
    assert found is not None
    return found.required()


def item_at(values: Any, position: int) -> Any:
    """The item at a position of a list or text."""
    try:
        return values[position]
    except IndexError:
        raise Fail(MISSING_INDEX) from None


def _item_kernel(arguments: Sequence[Argument]) -> Outcome:
    values, position = arguments
    if not isinstance(values, pl.Series):
        raise TypeError("a constant list is indexed by the general kernel")
    size = values.list.len().cast(pl.Int64)
    outside = (size <= position) | (-size > position)
    # polars panics on positions near the ends of 64 bits; no list reaches them.
    near = position.clip(-(2**31), 2**31) if isinstance(position, pl.Series) else max(-(2**31), min(position, 2**31))
    return values.list.get(near, null_on_oob=True), errors_where(outside, MISSING_INDEX)


def _item(types: Sequence[Type]) -> Implementation:
    general = python_kernel(item_at, types, element_of(types), strict=True)

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        if isinstance(arguments[0], pl.Series):
            return _item_kernel(arguments)
        return general(arguments)  # type: ignore[no-any-return]

    return Implementation(py=item_at, kernel=kernel)


def _slice(values: Any, start: int, stop: int | None) -> Any:
    return values[start:stop]


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
            return "nan" if value != value else value
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


def holds(values: list[Any], wanted: Any) -> bool:
    """Whether some item equals `wanted`; null items equal nothing."""
    return any(operators.equal(v, wanted) for v in values if v is not None)


def _holds_kernel(types: Sequence[Type]) -> Implementation:
    general = python_kernel(holds, types, BOOL, strict=True)
    element = types[1].kind

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        values, wanted = arguments
        if element in ("long", "string", "bool") and not isinstance(values, pl.Series):
            assert isinstance(wanted, pl.Series)
            options = pl.Series([v for v in values if v is not None], dtype=wanted.dtype)
            return wanted.is_in(options.implode()), None
        return general(arguments)  # type: ignore[no-any-return]

    return Implementation(py=holds, kernel=kernel)


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


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="length", doc="Characters of a text, items of a list, entries of a map, or bytes.",
        signatures=(
            signature("string", "long", len, inline="len({0})", expr=lambda e: e.str.len_chars().cast(pl.Int64)),
            signature("array", "long", len, inline="len({0})", expr=lambda e: e.list.len().cast(pl.Int64)),
            signature("map", "long", len, inline="len({0})"),
            signature("bytes", "long", len, inline="len({0})", expr=lambda e: e.bin.size().cast(pl.Int64)),
        ),
        examples=(('length("e\\u0301")', "2"), ("length([1, null])", "2"), ("length(null)", "null")), aliases=("len", "size"),
    ),
    Function(
        name="contains", doc="Whether a text contains another, a list an equal item, or a map a key. Operator `in`: "
        "`part in whole`.",
        signatures=(
            signature("string string", "bool", lambda s, part: part in s, inline="{1} in {0}", kernel=contains_text),
            *(signature(f"array<{k}> {k}", "bool", make=_holds_kernel) for k in
              ("long", "double", "string", "bool", "date", "time", "bytes")),
            signature("object string", "bool", lambda m, key: key in m),
        ),
        examples=(('contains("streamflow", "flow")', "true"), ('"DE" in ["DE", "FR"]', "true"), ("3 not in [1, 2]", "true")),
        dynamic=lambda whole, part: _contains_any(whole, part),
    ),
    Function(
        name="not_contains", doc="The opposite of `contains`. Operator `not in`.",
        signatures=(
            signature("string string", "bool", lambda s, part: part not in s, inline="{1} not in {0}"),
            *(signature(f"array<{k}> {k}", "bool", lambda values, wanted: not holds(values, wanted)) for k in
              ("long", "double", "string", "bool", "date", "time", "bytes")),
            signature("object string", "bool", lambda m, key: key not in m),
        ),
        examples=(('not_contains("abc", "x")', "true"),),
        dynamic=lambda whole, part: not _contains_any(whole, part),
    ),
    Function(
        name="item_at", doc="The item of a list, or the character of a text, at a position. Operator `[…]`.",
        signatures=(
            signature("array long", element_of, make=_item, fails=True, nullable=True),
            signature("string long", "string", item_at, fails=True),
        ),
        examples=(("[10, 20][-1]", "20"), ('"abc"[0]', '"a"'), ("[1][5]", "error: missing_index")),
    ),
    Function(
        name="slice", doc="Part of a list or text from `start` up to, not including, `stop`. Operator `[start:stop]`.",
        signatures=(
            signature("array long", _same, _slice, optional=(("long", 2**31 - 1),)),
            signature("string long", "string", _slice, optional=(("long", 2**31 - 1),)),
        ),
        examples=(("slice([1, 2, 3, 4], 1, 3)", "[2, 3]"), ('"streamflow"[:6]', '"stream"')),
    ),
    Function(
        name="first", doc="The first item of a list; null when it is empty.",
        signatures=(signature("array", element_of, lambda v: v[0] if v else None, nullable=True,
                              make=lambda t: Implementation(py=lambda v: v[0] if v else None, expr=lambda e: e.list.first())),),
        examples=(("first([3, 4])", "3"), ("first([])", "null")),
    ),
    Function(
        name="last", doc="The last item of a list; null when it is empty.",
        signatures=(signature("array", element_of, nullable=True,
                              make=lambda t: Implementation(py=lambda v: v[-1] if v else None, expr=lambda e: e.list.last())),),
        examples=(("last([3, 4])", "4"),),
    ),
    Function(
        name="sum", doc="Sum of a list of numbers; 0 when it is empty.",
        signatures=(
            signature("array<long>", "long", total_long, fails=True),
            signature("array<double>", "double", total),
        ),
        examples=(("sum([1, 2, null])", "3"), ("sum([0.5, 1])", "1.5")),
        dynamic=lambda values: _sum_any(values),
    ),
    function("avg", "Mean of a list of numbers; null when it is empty.", "array<double>", "double", _average,
             ("avg([1, 2])", "1.5"), nullable=True, aliases=("mean",)),
    _extreme("max", "The greatest of several values, or of a list (null when it is empty).", _greatest, _greatest_any,
             lambda *e: _strict_horizontal(pl.max_horizontal, e),
             ("max(1, 3, 2)", "3"), ("max([1.5, null, 0.5])", "1.5"), ('max("a", "b")', '"b"')),
    _extreme("min", "The least of several values, or of a list (null when it is empty).", _least, _least_any,
             lambda *e: _strict_horizontal(pl.min_horizontal, e),
             ("min(3, 1, 2)", "1"), ("min([])", "null")),
    Function(
        name="sort", doc="The items in ascending order, nulls last; NaN is greatest.",
        signatures=tuple(signature(f"array<{k}>", _same, _sorted) for k in (*_COMPARABLE, "bool", "bytes")),
        examples=(("sort([3, 1, null, 2])", "[1, 2, 3, null]"),),
        dynamic=lambda values: _sorted(_list(values)),
    ),
    Function(
        name="reverse", doc="The items of a list, or the characters of a text, in opposite order.",
        signatures=(
            signature("string", "string", lambda s: s[::-1]),
            signature("array", _same, lambda v: v[::-1], expr=lambda e: e.list.reverse()),
        ),
        examples=(('reverse("abc")', '"cba"'), ("reverse([1, 2])", "[2, 1]")),
    ),
    function("unique", "The items without repeats, each where it first stood.", "array", _same, _first_of_each,
             ("unique([1, 2, 1])", "[1, 2]"), aliases=("distinct",)),
    function("flatten", "The items of the lists in a list.", "array<array>", lambda t: (t[0].element or NULL).required(),
             _flatten, ("flatten([[1], [2, 3]])", "[1, 2, 3]"), fails=True),
    Function(
        name="concat", doc="Texts joined to one, or lists joined to one.",
        signatures=(
            CONCAT_TEXT,
            signature("array", _joined, _concat, variadic="array", alike=True, fails=True),
        ),
        examples=(('concat("a", "b")', '"ab"'), ("concat([1], [2, 3])", "[1, 2, 3]")),
    ),
    function("range", f"Whole numbers from `start` up to, not including, `stop`; at most {LIST_ITEMS_MAX:,}.", "long long",
             "array<long>", _range, ("range(0, 6, 2)", "[0, 2, 4]"), optional=(("long", 1),), fails=True),
    function("all_of", "Whether every item of a list is true (three-valued: null when it hangs on a null).", "array<bool>",
             "bool", lambda v: False if False in v else None if None in v else True, ("all_of([true, 1 < 2])", "true"),
             nullable=True),
    function("any_of", "Whether some item of a list is true (three-valued: null when it hangs on a null).", "array<bool>",
             "bool", lambda v: True if True in v else None if None in v else False, ("any_of([false, 1 < 2])", "true"),
             nullable=True),
    Function(
        name="position", doc="Position of the first equal item of a list, -1 when there is none.",
        signatures=tuple(signature(f"array<{k}> {k}", "long", _position) for k in ("long", "double", "string", "bool", "date")),
        examples=(('position(["a", "b"], "b")', "1"),),
        dynamic=lambda values, wanted: _position(_list(values), wanted),
    ),
    function("compact", "The items of a list that are not null.", "array", _same, lambda v: [x for x in v if x is not None],
             ("compact([1, null])", "[1]"), expr=lambda e: e.list.drop_nulls()),
    function("chunk", "A list cut into lists of so many items.", "array long",
             lambda t: array_of(t[0].required()), lambda v, n: _chunk(v, n), ("chunk([1, 2, 3], 2)", "[[1, 2], [3]]"),
             fails=True),
)  # fmt: skip


def _strict_horizontal(how: Any, parts: Sequence[pl.Expr]) -> pl.Expr:
    missing = functools.reduce(lambda a, b: a | b, [p.is_null() for p in parts])
    return pl.when(~missing).then(how(*parts))


def _chunk(values: list[Any], size: int) -> list[list[Any]]:
    if size < 1:
        raise Fail(INVALID_ARGUMENT)
    return [values[i : i + size] for i in range(0, len(values), size)]


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Fail(WRONG_TYPE)
    return value


def _sum_any(values: Any) -> Any:
    present = [v for v in _list(values) if v is not None]
    if all(type(v) is int for v in present):
        return total_long(map(fits, present))
    return total(map(operators.as_double, present))


def _contains_any(whole: Any, part: Any) -> bool:
    if type(whole) is list:
        return holds(whole, part)
    if type(whole) in (str, dict):
        if type(part) is not str:
            raise Fail(WRONG_TYPE)
        return part in whole
    raise Fail(WRONG_TYPE)
