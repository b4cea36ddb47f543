"""Values between columns and Python: the representation of every type on the Python side, both ways.

| type                 | Python representation                                             |
|----------------------|-------------------------------------------------------------------|
| bool, string, bytes  | bool, str, bytes (enum and uuid: str; fixed: bytes)               |
| int, long            | int                                                               |
| float, double        | float                                                             |
| date                 | int, days since 1970                                              |
| time                 | int, nanoseconds since midnight (what polars stores)              |
| timestamp, local     | int, milliseconds or microseconds since 1970, as the type's unit  |
| decimal              | int, unscaled                                                     |
| array                | list                                                              |
| map, record, union   | dict (of a union: branch name to value, one of them not None)     |
| any                  | what JSON text parses to: None, bool, int, float, str, list, dict |

Integers stand for dates and times because polars holds days and instants that Python's classes cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import orjson
import polars as pl

from streamflow.model.types import Type, polars_dtype, walk

_STORED: dict[str, pl.DataType] = {"date": pl.Int32(), "time": pl.Int64(), "timestamp": pl.Int64(), "local": pl.Int64()}
_EXACT = Context(prec=80)
Convert = Callable[[Any], Any]


class Unreadable:
    """Stands for a value whose JSON text does not parse: every expression that reads it fails with bad_cast."""


UNREADABLE = Unreadable()


def to_python(series: pl.Series, t: Type) -> list[Any]:
    """The column's values in their Python representation."""
    if t.kind == "any":
        return _parse_all(series.to_list())
    convert = _reader(t)
    raw = series.to_physical().to_list()
    if convert is None:
        return raw
    return (
        [None if v is None else _readable(convert, v) for v in raw]
        if holds_json(t)
        else [None if v is None else convert(v) for v in raw]
    )


def holds_json(t: Type) -> bool:
    """Whether a value contains JSON text that may not parse."""
    return any(inner.kind == "any" for inner in walk(t))


def _parse_all(texts: list[bytes | None]) -> list[Any]:
    loads = orjson.loads
    try:
        return [None if v is None else loads(v) for v in texts]
    except orjson.JSONDecodeError:
        return [None if v is None else _readable(loads, v) for v in texts]


def _readable(convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except orjson.JSONDecodeError:
        return UNREADABLE


def from_python(values: Sequence[Any], t: Type) -> pl.Series:
    """A column of type `t` from Python representations."""
    dtype = polars_dtype(t)
    if t.kind == "any":
        dumps = orjson.dumps  # as `json_text`, without a call for each
        return pl.Series("", [None if v is None else b"%b" % dumps(v) for v in values], dtype=dtype)
    convert = _writer(t)
    if convert is not None:
        values = [None if v is None else convert(v) for v in values]
    return pl.Series("", values, dtype=_stored_dtype(t), strict=True).cast(dtype)


def json_text(value: Any) -> bytes:
    """JSON of an `any` value; NaN and infinities become null, as JSON has no other word for them."""
    # Copied, because orjson's result keeps the kilobyte it was written into: a column of them is all page faults.
    return b"%b" % orjson.dumps(value)


@lru_cache(maxsize=512)
def _stored_dtype(t: Type) -> pl.DataType:
    """The dtype that `pl.Series` is built with: temporal kinds as integers, all else as they are."""
    if t.kind in _STORED:
        return _STORED[t.kind]
    if t.kind == "array":
        assert t.element is not None
        return pl.List(_stored_dtype(t.element))
    if t.kind == "map":
        assert t.element is not None
        return pl.List(pl.Struct({"key": pl.String(), "value": _stored_dtype(t.element)}))
    if t.kind == "record":
        return pl.Struct({f.name: _stored_dtype(f.type) for f in t.fields})
    if t.kind == "union":
        names = polars_dtype(t).to_schema()  # type: ignore[attr-defined]
        return pl.Struct({n: _stored_dtype(b) for n, b in zip(names, t.branches, strict=True)})
    return polars_dtype(t)


@lru_cache(maxsize=512)
def _reader(t: Type) -> Convert | None:
    """Turns a value of a physical column into its representation; None when it already is."""
    if t.kind == "any":
        return orjson.loads
    return _nested(t, _reader, lambda pairs, inner: {p["key"]: _through(inner, p["value"]) for p in pairs})


@lru_cache(maxsize=512)
def _writer(t: Type) -> Convert | None:
    """Turns a representation into what `pl.Series` takes; None when it already is."""
    if t.kind == "any":
        return json_text
    if t.kind == "decimal":
        scale = -t.scale
        return lambda v: Decimal(v).scaleb(scale, _EXACT)
    return _nested(t, _writer, lambda m, inner: [{"key": k, "value": _through(inner, v)} for k, v in m.items()])


def _through(convert: Convert | None, value: Any) -> Any:
    return value if value is None or convert is None else convert(value)


def _nested(
    t: Type, of: Callable[[Type], Convert | None], of_map: Callable[[Any, Convert | None], Any]
) -> Convert | None:
    if t.kind == "map":
        assert t.element is not None
        inner = of(t.element)
        return lambda v: of_map(v, inner)
    if t.kind == "array":
        assert t.element is not None
        element = of(t.element)
        return None if element is None else lambda v: [_through(element, x) for x in v]
    if t.kind in ("record", "union"):
        parts = (
            {f.name: of(f.type) for f in t.fields}
            if t.kind == "record"
            else dict(zip(polars_dtype(t).to_schema(), (of(b) for b in t.branches), strict=True))  # type: ignore[attr-defined]
        )
        if not any(parts.values()):
            return None
        return lambda v: {n: _through(c, v.get(n)) for n, c in parts.items()}
    return None


def constant_series(value: Any, t: Type, height: int) -> pl.Series:
    """A column that holds one value."""
    return from_python([value], t).new_from_index(0, height) if height else from_python([], t)


def literal(value: Any, t: Type) -> pl.Expr:
    """A polars literal of exactly the type's dtype."""
    if value is None:
        return pl.lit(None, dtype=polars_dtype(t))
    if t.kind in ("bool", "string", "bytes", "enum", "uuid", "fixed", "long", "double"):
        return pl.lit(value, dtype=polars_dtype(t))
    if t.kind in _STORED:
        return pl.lit(value, dtype=_STORED[t.kind]).cast(polars_dtype(t))
    return pl.lit(from_python([value], t)).first()
