"""The shape of JSON objects: their keys in order; and the texts of one shape, taken apart into columns.

Producers write the objects of a topic with one piece of code, so most texts have the shape of their neighbours. A
regular expression says which do, in native code, where threads do not wait for each other. In those, a value lies
between two marks, `,"key":` and the next, which a search finds: at the top they stand once. Where a text ends with a
comma, its quote is no beginning of a key: what follows is one of a few characters, with which no key may begin here.
Where objects nest, marks are counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import orjson
import polars as pl

from streamflow.codecs.json_check import NESTED

Kind = Literal["string", "long", "double", "bool", "null", "nested"]
MEMBERS_MAX: Final = 64  # objects with more keys are not looked at
_BEHIND_TEXT: Final = tuple(",:]} \t\n\r")  # what may follow the quote that ends a text
FITS: Final = "fits"  # column: whether the text has the shape
_NESTS, _ITEM, _TEXT = "nests", "item", "text"
_CACHED_MAX: Final = 256

_KINDS: Final[dict[type, Kind]] = {str: "string", int: "long", float: "double", bool: "bool", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Shape:
    """Keys of a JSON object in the order of its text, and whether blanks stand behind its commas and colons."""

    keys: tuple[str, ...]
    spaced: bool

    @lru_cache(maxsize=_CACHED_MAX)  # noqa: B019 - shapes are few, and as small as their patterns
    def pattern(self) -> str:
        """What matches the texts of this shape. All of them are JSON, and objects whose values nest once at most."""
        members = "".join(f"{re.escape(self.mark(at))}{NESTED}" for at in range(len(self.keys)))
        return rf"^{members}\}}$"

    def mark(self, at: int) -> str:
        """What stands between the values of the members before `at` and at `at`."""
        blank = " " if self.spaced else ""
        before = f",{blank}" if at else "{"
        return f"{before}{orjson.dumps(self.keys[at]).decode()}:{blank}"


def text_column(at: int) -> str:
    """Name of the column that holds the JSON text of member `at`; null where that is not known."""
    return f"m{at}"


def shape_of(text: str) -> tuple[Shape, dict[str, Kind]] | None:
    """The shape of a JSON text, and of what kind the value of each key is in it. None where there is none to speak of:
    no object, no keys or too many, or keys that could be taken for something else.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if type(value) is not dict or not 0 < len(value) <= MEMBERS_MAX or any(k.startswith(_BEHIND_TEXT) for k in value):
        return None
    spaced = text.startswith(Shape(tuple(value), spaced=True).mark(0))
    return Shape(tuple(value), spaced), {key: _KINDS.get(type(v), "nested") for key, v in value.items()}


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Expressions that find members: made once, as making them takes longer than running them over some rows."""

    places: tuple[pl.Expr, ...]
    members: tuple[pl.Expr, ...]


def fitting(items: pl.Series, shape: Shape) -> pl.DataFrame:
    """Columns `fits` and `nests` for JSON texts (Binary, no nulls). Raises PolarsError where one is no UTF-8."""
    return pl.DataFrame({_ITEM: items, _TEXT: items.cast(pl.String)}).select(_fits(shape))


def with_members(fits: pl.DataFrame, items: pl.Series, shape: Shape, wanted: Collection[int]) -> pl.DataFrame:
    """`fits`, what `fitting` made of these items, with the text columns of the members numbered in `wanted`."""
    missing = tuple(sorted(at for at in wanted if text_column(at) not in fits.columns))
    if not missing:
        return fits
    cuts = _cuts(shape, missing, all_fit=fits[FITS].all(), nests=fits[_NESTS].any())
    frame = pl.DataFrame({_ITEM: items, _TEXT: items.cast(pl.String), FITS: fits[FITS]})
    return fits.hstack(frame.with_columns(cuts.places).select(cuts.members))


@lru_cache(maxsize=_CACHED_MAX)
def _fits(shape: Shape) -> tuple[pl.Expr, pl.Expr]:
    nests = pl.col(_ITEM).bin.slice(1).bin.contains(b"{")
    return pl.col(_TEXT).str.contains(shape.pattern()).alias(FITS), nests.alias(_NESTS)


@lru_cache(maxsize=_CACHED_MAX)
def _cuts(shape: Shape, wanted: tuple[int, ...], *, all_fit: bool, nests: bool) -> _Cuts:
    last = len(shape.keys)
    item, text = pl.col(_ITEM), pl.col(_TEXT)

    def where_known(place: pl.Expr, mark: str = "") -> pl.Expr:
        if nests and mark:
            return pl.when(pl.col(FITS) & (text.str.count_matches(mark, literal=True) == 1)).then(place)
        return place if all_fit else pl.when(pl.col(FITS)).then(place)

    places = [where_known(pl.lit(len(shape.mark(0).encode()), pl.Int64)).alias("b0")]
    for at in {*wanted, *(at + 1 for at in wanted)} - {0, last}:
        mark = shape.mark(at)
        places.append(where_known(text.str.find(mark, literal=True), mark).cast(pl.Int64).alias(f"e{at - 1}"))
    places.append(where_known(item.bin.size().cast(pl.Int64) - 1).alias(f"e{last - 1}"))
    members = []
    for at in wanted:
        start = pl.col("b0") if at == 0 else pl.col(f"e{at - 1}") + len(shape.mark(at).encode())
        members.append(item.bin.slice(start, pl.col(f"e{at}") - start).cast(pl.String).alias(text_column(at)))
    return _Cuts(tuple(places), tuple(members))
