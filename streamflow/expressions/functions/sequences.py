"""What texts, lists and maps have in common: a length, parts, positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from streamflow.expressions.columns import errors_where, python_kernel
from streamflow.expressions.failure import MISSING_INDEX, WRONG_TYPE, Fail
from streamflow.expressions.functions import operators
from streamflow.expressions.functions.strings import contains_text
from streamflow.expressions.signatures import Argument, Function, Implementation, Outcome, signature
from streamflow.model.types import BOOL, NULL, Type

TITLE = "Lengths, parts and positions"
INTRO = "Positions start at 0; negative ones count from the end."


def element_of(types: Sequence[Type]) -> Type:
    return (types[0].element or NULL).optional() if types[0].element is not None else NULL


def same_type(types: Sequence[Type]) -> Type:
    return types[0].required()


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


def as_list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Fail(WRONG_TYPE)
    return value


def _contains_any(whole: Any, part: Any) -> bool:
    if type(whole) is list:
        return holds(whole, part)
    if type(whole) in (str, dict):
        if type(part) is not str:
            raise Fail(WRONG_TYPE)
        return part in whole
    raise Fail(WRONG_TYPE)


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="length",
        doc="Characters of a text, items of a list, entries of a map, or bytes.",
        signatures=(
            signature("string", "long", len, inline="len({0})", expr=lambda e: e.str.len_chars().cast(pl.Int64)),
            signature("array", "long", len, inline="len({0})", expr=lambda e: e.list.len().cast(pl.Int64)),
            signature("map", "long", len, inline="len({0})"),
            signature("bytes", "long", len, inline="len({0})", expr=lambda e: e.bin.size().cast(pl.Int64)),
        ),
        examples=(('length("e\\u0301")', "2"), ("length([1, null])", "2"), ("length(null)", "null")),
        aliases=("len", "size"),
    ),
    Function(
        name="contains",
        doc="Whether a text contains another, a list an equal item, or a map a key. Operator `in`: `part in whole`.",
        signatures=(
            signature("string string", "bool", lambda s, part: part in s, inline="{1} in {0}", kernel=contains_text),
            *(
                signature(f"array<{k}> {k}", "bool", make=_holds_kernel)
                for k in ("long", "double", "string", "bool", "date", "time", "bytes")
            ),
            signature("object string", "bool", lambda m, key: key in m),
        ),
        examples=(
            ('contains("streamflow", "flow")', "true"),
            ('"DE" in ["DE", "FR"]', "true"),
            ("3 not in [1, 2]", "true"),
        ),
        dynamic=_contains_any,
    ),
    Function(
        name="not_contains",
        doc="The opposite of `contains`. Operator `not in`.",
        signatures=(
            signature("string string", "bool", lambda s, part: part not in s, inline="{1} not in {0}"),
            *(
                signature(f"array<{k}> {k}", "bool", lambda values, wanted: not holds(values, wanted))
                for k in ("long", "double", "string", "bool", "date", "time", "bytes")
            ),
            signature("object string", "bool", lambda m, key: key not in m),
        ),
        examples=(('not_contains("abc", "x")', "true"),),
        dynamic=lambda whole, part: not _contains_any(whole, part),
    ),
    Function(
        name="item_at",
        doc="The item of a list, or the character of a text, at a position. Operator `[…]`.",
        signatures=(
            signature("array long", element_of, make=_item, fails=True, nullable=True),
            signature("string long", "string", item_at, fails=True),
        ),
        examples=(("[10, 20][-1]", "20"), ('"abc"[0]', '"a"'), ("[1][5]", "error: missing_index")),
    ),
    Function(
        name="slice",
        doc="Part of a list or text from `start` up to, not including, `stop`. Operator `[start:stop]`.",
        signatures=(
            signature("array long", same_type, _slice, optional=(("long", 2**31 - 1),)),
            signature("string long", "string", _slice, optional=(("long", 2**31 - 1),)),
        ),
        examples=(("slice([1, 2, 3, 4], 1, 3)", "[2, 3]"), ('"streamflow"[:6]', '"stream"')),
    ),
    Function(
        name="reverse",
        doc="The items of a list, or the characters of a text, in opposite order.",
        signatures=(
            signature("string", "string", lambda s: s[::-1]),
            signature("array", same_type, lambda v: v[::-1], expr=lambda e: e.list.reverse()),
        ),
        examples=(('reverse("abc")', '"cba"'), ("reverse([1, 2])", "[2, 1]")),
    ),
)
