"""Items as the Python values that a user's function gets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Type


def to_items(batch: Batch) -> list[Any]:
    """Items as dicts of Python values (date, datetime, Decimal, dict for maps); JSON as parsed."""
    if batch.schema.kind != "record":
        values = batch.frame[PAYLOAD].to_list()
        return values if batch.schema.kind == "bytes" else [None if v is None else orjson.loads(v) for v in values]
    rows = batch.payload().to_dicts()
    odd = [f for f in batch.schema.fields if _is_odd(f.type)]
    for row in rows if odd else ():
        for field in odd:
            row[field.name] = _plain(row[field.name], field.type)
    return rows


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
