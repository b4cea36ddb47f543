"""Expressions on JSON items of one shape, in native code: what most items of a topic need, at a fraction of the price.

The shape of a batch is that of its first item. Texts that have it are taken apart (see `shape`), the expression runs on
typed columns, and a new item is put together as text. Every row for which that could differ from the general way, in
value, spelling or failure, goes the general way: each item by itself, in Python.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from streamflow.expressions.polars_backend import PolarsProgram
from streamflow.expressions.python_backend import PythonExpression
from streamflow.expressions.shape import FITS, Kind, Shape, fitting, shape_of, text_column, with_members
from streamflow.expressions.specialise import NoSuchTree, Specialiser, is_plain, keys_read, object_parts, value_column
from streamflow.expressions.tree import Const, Node, nodes
from streamflow.model.types import PAYLOAD

_MEMBERS: Final = "@members "  # in `Batch.parsed`: this and a pattern -> the texts of members found so far
_ROWS_MIN: Final = 32  # fewer are done sooner than a regular expression is ready
_MISSES_MAX: Final = 16  # batches that go the general way after one most of whose items had other shapes
_PLANS_MAX: Final = 32
_LONG_DIGITS_MAX: Final = 15  # whole numbers that doubles hold exactly
_FLOAT_MIN, _FLOAT_MAX = 1e-4, 1e15  # between these a double is spelled without an exponent
# What JSON writes as it came. A double of 15 digits is the shortest spelling of itself.
_AS_IT_CAME: Final = r'^(?:"[^"\\]*"|0|-?[1-9][0-9]{0,17}|true|false|null)$'
_DOUBLE_CHARS_MAX: Final = 16

Part = int | Node  # the number of a member that is taken over, or what is computed


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do with items of one shape. `ready` says of a row whether all that is computed with is there."""

    shape: Shape
    members: frozenset[int]
    casts: tuple[pl.Expr, ...]
    ready: pl.Expr
    program: PolarsProgram | None
    text: pl.Expr | None  # of the new item; None: the program's one value is the result

    def run(self, items: pl.Series, parsed: dict[str, Any]) -> pl.Series:
        """The values, null where the general way must find them."""
        name = _MEMBERS + self.shape.pattern()
        fits = parsed[name] if name in parsed else fitting(items, self.shape)
        parsed[name] = with_members(fits, items, self.shape, self.members)
        frame: pl.DataFrame = parsed[name].with_columns(self.casts)
        if self.program is not None:
            made = self.program.run(frame)
            frame = frame.with_columns(values.alias(name) for name, (values, _) in made.items())
        value = pl.col("0") if self.text is None else self.text
        return frame.select(pl.when(self.ready).then(value)).to_series()


@dataclass(slots=True)
class ShapedExpression:
    """An expression on JSON items that looks at the shape of a batch first."""

    general: PythonExpression
    _computed: frozenset[str] = field(init=False)
    _kept: frozenset[str] | None = field(init=False)
    _plans: dict[object, _Plan | None] = field(default_factory=dict)
    _skip: int = 0  # batches that go the general way without a look

    def __post_init__(self) -> None:
        self._computed, self._kept = keys_read(self.general.node)

    @property
    def columns(self) -> tuple[str, ...]:
        return self.general.columns

    def is_json(self, name: str) -> bool:
        return self.general.is_json(name)

    def once(self) -> tuple[list[Any], dict[int, int]]:
        return self.general.once()

    def run(self, frame: pl.DataFrame, parsed: dict[str, Any]) -> tuple[pl.Series, pl.Series | None]:
        """Values and error codes, as the general way gives them."""
        values = self._by_shape(frame, parsed)
        if values is None:
            return self.general.run(frame, parsed)
        missing = values.is_null()
        count = int(missing.sum())
        if not count:
            return values, None
        self._skip = _MISSES_MAX if count > len(values) // 2 else 0
        others, codes = self.general.run(frame.filter(missing), {})
        return _put_in(values, missing, others), None if codes is None else _put_in(_no_codes(values), missing, codes)

    def _by_shape(self, frame: pl.DataFrame, parsed: dict[str, Any]) -> pl.Series | None:
        if self._skip:
            self._skip -= 1
            return None
        if frame.height < _ROWS_MIN:
            return None
        try:
            plan = self._plan_for(frame[PAYLOAD][0])
            if plan is not None:
                return plan.run(frame[PAYLOAD], parsed)
        except (UnicodeDecodeError, pl.exceptions.PolarsError):
            pass  # some item is no UTF-8
        self._skip = _MISSES_MAX
        return None

    def _plan_for(self, first: bytes | None) -> _Plan | None:
        found = None if first is None else shape_of(first.decode())
        if found is None:
            return None
        shape, kinds = found
        # Values that are only taken over may be of this kind here and of that there.
        seen = {k: v if k in self._computed or v in ("double", "nested") else "null" for k, v in kinds.items()
                if k in self._computed or self._kept is None or k in self._kept}  # fmt: skip
        key = shape, tuple(seen.items())
        if key not in self._plans:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            self._plans[key] = _plan(self.general.node, shape, seen)
        return self._plans[key]


def _plan(tree: Node, shape: Shape, kinds: Mapping[str, Kind]) -> _Plan | None:
    """How to run an expression on items of a shape; None where it cannot be done, or is not known to be the same."""
    makes = Specialiser(shape, kinds)
    parts = object_parts(tree, shape) if tree.type.kind == "any" else None
    try:
        if parts is None:
            computed, taken = {"0": makes.typed(tree)}, set[int]()
            if tree.type.kind not in ("any", computed["0"].type.kind):
                return None
            text = _spelled("0", computed["0"]).cast(pl.Binary) if tree.type.kind == "any" else None
        else:
            computed, taken, text = _object(parts, makes)
    except NoSuchTree:
        return None
    casts = [_value(at, kinds[shape.keys[at]]) for at in sorted(makes.read)]
    ready = [pl.col(FITS), *(pl.col(value_column(at)).is_not_null() for at in sorted(makes.read))]
    program = PolarsProgram(computed) if computed else None
    return _Plan(shape, frozenset(makes.read | taken), tuple(casts), reduce(operator.and_, ready), program, text)


def _object(parts: Mapping[str, Part], makes: Specialiser) -> tuple[dict[str, Node], set[int], pl.Expr]:
    """(what is computed by name, members taken over, text of the new object). Raises NoSuchTree."""
    computed: dict[str, Node] = {}
    taken: set[int] = set()
    texts: list[str | pl.Expr] = []
    for at, (key, part) in enumerate(parts.items()):
        texts.append(("," if at else "{") + orjson.dumps(key).decode() + ":")
        member = part if isinstance(part, int) else makes.member_of(part)
        if member is not None:
            taken.add(member)
            texts.append(_as_it_came(member, makes.kinds[makes.shape.keys[member]]))
        else:
            assert not isinstance(part, int)
            computed[str(at)] = makes.typed(part)
            texts.append(_spelled(str(at), computed[str(at)]))
    texts.append("}" if parts else "{}")
    joined: list[str | pl.Expr] = []
    for text in texts:
        before = joined[-1] if joined else None
        if isinstance(text, str) and isinstance(before, str):
            joined[-1] = before + text
        else:
            joined.append(text)
    columns = [pl.lit(text) if isinstance(text, str) else text for text in joined]
    return computed, taken, pl.concat_str(columns).cast(pl.Binary)


def _value(at: int, kind: Kind) -> pl.Expr:
    """The value of a member that is computed with; null where it is of another kind, or a null."""
    text = pl.col(text_column(at))
    match kind:
        case "long":
            value = pl.when(text.str.len_bytes() <= _LONG_DIGITS_MAX).then(text.cast(pl.Int64, strict=False))
        case "double":
            value = pl.when(text.str.contains(".", literal=True)).then(text.cast(pl.Float64, strict=False))
        case "bool":
            value = pl.when(text.is_in(["true", "false"])).then(text == "true")
        case _:
            plain = text.str.starts_with('"') & ~text.str.contains("\\", literal=True)
            inside = text.cast(pl.Binary).bin.slice(1, text.str.len_bytes().cast(pl.Int64) - 2).cast(pl.String)
            value = pl.when(plain).then(inside)
    return value.alias(value_column(at))


def _as_it_came(at: int, kind: Kind) -> pl.Expr:
    """The text of a member; null where JSON would be written otherwise than it was."""
    text = pl.col(text_column(at))
    if kind == "nested":
        raise NoSuchTree
    if kind != "double":
        return pl.when(text.str.contains(_AS_IT_CAME)).then(text)
    number = ~text.str.starts_with('"') & text.str.contains(".", literal=True) & ~text.str.contains("[eE]")
    shortest = ~text.str.ends_with("0") | text.str.ends_with(".0")
    plain = (text.str.len_bytes() <= _DOUBLE_CHARS_MAX) & ~text.str.contains("0.000", literal=True)
    return pl.when(number & shortest & plain).then(text)


def _spelled(name: str, node: Node) -> pl.Expr:
    """The JSON text of a computed value; null where it might be spelled another way."""
    value = pl.col(name)
    match node.type.kind:
        case "string":
            if not all(is_plain(n.value) for n in nodes(node) if isinstance(n, Const) and isinstance(n.value, str)):
                raise NoSuchTree
            return pl.concat_str(pl.lit('"'), value, pl.lit('"'))
        case "double":
            plain = (value == 0) | value.abs().is_between(_FLOAT_MIN, _FLOAT_MAX, closed="left")
            return pl.when(plain).then(value.cast(pl.String))
        case "bool" | "long":
            return value.cast(pl.String)
    raise NoSuchTree


def _no_codes(values: pl.Series) -> pl.Series:
    return pl.repeat(0, len(values), dtype=pl.UInt8, eager=True)


def _put_in(values: pl.Series, where: pl.Series, others: pl.Series) -> pl.Series:
    """`values` with `others` in the rows of `where`, in order."""
    at = np.arange(len(values), dtype=np.uint32)
    at[where.to_numpy()] = np.arange(len(values), len(values) + len(others), dtype=np.uint32)
    return pl.concat([values, others]).gather(at)
