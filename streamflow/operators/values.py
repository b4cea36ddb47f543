"""Items as the Python values that a user's function gets."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Type

# Kinds whose values polars gives as the Python values that are meant.
_FLAT = frozenset(("string", "bool", "int", "long", "float", "double", "bytes", "fixed", "enum", "uuid"))


def to_items(batch: Batch) -> list[Any]:
    """Items as dicts of Python values (date, datetime, Decimal, dict for maps); JSON as parsed."""
    if batch.schema.kind != "record":
        values = batch.frame[PAYLOAD].to_list()
        return values if batch.schema.kind == "bytes" else [None if v is None else orjson.loads(v) for v in values]
    if batch.schema.fields and all(f.type.kind in _FLAT for f in batch.schema.fields):
        return flat_dicts(batch.payload())
    rows = batch.payload().to_dicts()
    odd = [f for f in batch.schema.fields if _is_odd(f.type)]
    for row in rows if odd else ():
        for field in odd:
            row[field.name] = _plain(row[field.name], field.type)
    return rows


def flat_dicts(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The same as `to_dicts` for columns that are not nested, in half the time: column by column out of polars, and
    into dicts by code that names their keys.
    """
    return _dict_maker(tuple(frame.columns))([column.to_list() for column in frame.get_columns()])


@lru_cache(maxsize=256)
def _dict_maker(names: tuple[str, ...]) -> Callable[[list[list[Any]]], list[dict[str, Any]]]:
    """A function of columns that gives rows: `[{"id": v0, "ts": v1} for v0, v1 in zip(*columns)]`."""
    variables = [f"v{i}" for i in range(len(names))]
    pairs = ", ".join(f"{name!r}: {variable}" for name, variable in zip(names, variables, strict=True))
    made: Callable[[list[list[Any]]], list[dict[str, Any]]] = eval(  # noqa: S307 (names are quoted)
        f"lambda columns: [{{{pairs}}} for {', '.join(variables)}, in zip(*columns)]", {"zip": zip}
    )
    return made


def _is_odd(t: Type) -> bool:
    """Whether polars' own Python value is not the one meant."""
    if t.kind in ("any", "map", "union"):
        return True
    return any(_is_odd(f.type) for f in t.fields) or (t.element is not None and _is_odd(t.element))


def _plain(value: Any, t: Type) -> Any:
    if value is None:
        return None
    if t.kind == "any":
        return orjson.loads(value)
    if t.kind == "map":
        assert t.element is not None
        return {pair["key"]: _plain(pair["value"], t.element) for pair in value}
    if t.kind == "array":
        assert t.element is not None
        return [_plain(v, t.element) for v in value]
    if t.kind == "record":
        return {f.name: _plain(value[f.name], f.type) for f in t.fields}
    if t.kind == "union":
        return next((v for v in value.values() if v is not None), None)
    return value


def json_bytes(value: Any) -> bytes:
    """JSON of what a function returned. Dates and times become ISO 8601, decimals text. Raises TypeError."""
    return orjson.dumps(value, default=_extra)


def _extra(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")  # how Avro's JSON spells bytes
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
