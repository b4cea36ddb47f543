"""What a function returned as columns, without JSON between: the short way for dicts of plain values.

The long way writes each returned value as JSON and reads that by the schema's rules; here the same comes out for dicts
with exactly the schema's fields, in one order, whose values are of the very Python types that the fields are made of.
Anything else (a date, a subclass, a field more or less, a number out of range) is left to the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from streamflow.model.types import Schema, Type, frame_schema, polars_dtype
from streamflow.operators.values import json_bytes

Row = tuple[Any, ...]
_NONE: Final = type(None)
# An int is a double as well, by JSON's rules; but not every int is one, so that is left to the long way.
_TYPES: Final[dict[str, type]] = {"string": str, "bool": bool, "int": int, "long": int, "double": float}
_INT_MAX: Final = (1 << 31) - 1
_KINDS_MAX: Final = 256  # combinations of types that are remembered: which nullable fields were null


class PlainRows:
    """Takes what one call after the other returned, of one batch.

    Values are taken out of a dict when it is returned: a function may return the same dict again, changed. What is kept
    of it cannot change.
    """

    def __init__(self, schema: Schema) -> None:
        self._fields: dict[str, Type] = {f.name: f.type for f in schema.fields}
        self._usable = schema.kind == "record" and all(t.kind in _TYPES for t in self._fields.values())
        self._schema = schema
        self._order: tuple[str, ...] | None = None  # of the keys of all rows
        self._strings = (str,) * len(self._fields)
        self._known: set[tuple[type, ...]] = set()

    def row(self, returned: Any) -> Row | None:
        """The values of a returned dict in the order of its keys, or None where the long way must be gone."""
        if type(returned) is not dict or not self._usable:
            return None
        keys = tuple(returned)
        if keys != self._order and not self._ordered(keys):
            return None
        values = tuple(returned.values())
        types = tuple(map(type, values))
        # Equal keys may still be of a subclass of str, for which JSON has rules of its own.
        if tuple(map(type, keys)) != self._strings or not (types in self._known or self._fits(types)):
            return None
        return values

    def columns(self, rows: Sequence[Row]) -> pl.DataFrame | None:
        """All rows as columns of the schema, or None where a value needs the long way."""
        if not rows:
            return pl.DataFrame(schema=frame_schema(self._schema))
        assert self._order is not None
        made: dict[str, pl.Series] = {}
        for name, values in zip(self._order, zip(*rows, strict=True), strict=True):
            column = _column(values, self._fields[name])
            if column is None:
                return None
            made[name] = column
        return pl.DataFrame([made[name].alias(name) for name in self._fields])

    def text(self, row: Row) -> bytes:
        """The row as JSON, as its dict would have given it. Raises TypeError where that is no JSON."""
        assert self._order is not None
        return json_bytes(dict(zip(self._order, row, strict=True)))

    def _ordered(self, keys: tuple[Any, ...]) -> bool:
        """Whether the first row's keys are the schema's fields; their order then holds for all."""
        if self._order is not None or not keys or len(keys) != len(self._fields) or set(keys) != set(self._fields):
            return False
        if set(map(type, keys)) != {str}:
            return False
        self._order = keys
        return True

    def _fits(self, types: tuple[type, ...]) -> bool:
        assert self._order is not None
        for name, found in zip(self._order, types, strict=True):
            wanted = self._fields[name]
            if found is not _TYPES[wanted.kind] and not (found is _NONE and wanted.nullable):
                return False
        if len(self._known) < _KINDS_MAX:
            self._known.add(types)
        return True


def _column(values: Sequence[Any], t: Type) -> pl.Series | None:
    """Values of the very type of `t`, or None where JSON would not give the same."""
    wide = pl.Int64() if t.kind == "int" else polars_dtype(t)
    try:
        column = pl.Series(values, dtype=wide, strict=True)
    except (OverflowError, UnicodeError, TypeError, pl.exceptions.PolarsError):
        return None  # beyond 64 bits, or text that is no Unicode: JSON says what becomes of it
    if t.kind == "double" and not column.is_finite().all():
        return None  # JSON has no such numbers: null
    if t.kind == "int" and not column.is_between(-_INT_MAX - 1, _INT_MAX).all():
        return None
    return column.cast(polars_dtype(t))
