"""Parsed JSON to columns of the model's types, a field at a time.

| type            | JSON form                                                           |
|-----------------|---------------------------------------------------------------------|
| bool, string    | the same                                                            |
| int, long       | a number without fraction or exponent, in range                     |
| float, double   | a number                                                            |
| enum, uuid      | a string: a symbol, 36 characters                                   |
| bytes, fixed    | base64                                                              |
| date, time      | ISO 8601: 2024-05-01, 12:30:00.5                                    |
| timestamp       | ISO 8601 with Z or an offset; or a number of the type's own unit    |
| local           | ISO 8601 without offset; or a number of the type's own unit         |
| decimal         | a string, or a number                                               |
| array, map      | array, object                                                       |
| record          | an object                                                           |
| union           | the plain value: the first branch that takes it                     |
| any             | anything                                                            |

Everything works on lists of one field's values, so checks are a set of Python types a column, not a test a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal, DecimalException
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from streamflow.codecs.avronodes import INT_MAX, INT_MIN
from streamflow.codecs.decimals import EXACT
from streamflow.codecs.evolution import default_literal
from streamflow.model.types import Type, branch_names, polars_dtype

Problems = dict[int, str]  # row -> what is wrong
_NONE: Final = type(None)
_LONG_MIN, _LONG_MAX = -(1 << 63), (1 << 63) - 1
_MISSING: Final = object()
_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"


def fields_from_json(rows: Sequence[Any], record: Type) -> tuple[list[pl.Series], Problems]:
    """Columns of a record's fields; rows with a problem hold anything. A row must be an object."""
    problems: Problems = {}
    if not set(map(type, rows)) <= {dict}:
        problems = {i: f"expected an object, found {_show(row)}" for i, row in enumerate(rows) if type(row) is not dict}
        rows = [row if type(row) is dict else {} for row in rows]
    columns: list[pl.Series] = []
    for f in record.fields:
        values = [row.get(f.name, _MISSING) for row in rows]
        missing = {i for i, v in enumerate(values) if v is _MISSING}
        for i in missing:
            values[i] = None
        column, found = column_from_json(values, f.type)
        if missing and f.has_default:
            filled = np.zeros(len(rows), np.bool_)
            filled[list(missing)] = True
            column = pl.select(pl.when(pl.Series(filled)).then(default_literal(f)).otherwise(column)).to_series()
            for i in missing:
                found.pop(i, None)
        elif missing and not f.type.nullable and f.type.kind != "null":
            found = dict.fromkeys(missing, "") | found
        for i, message in found.items():
            what = "is missing" if i in missing else message
            problems.setdefault(i, f"field {f.name!r}: {what}" if not message.startswith("field ") else message)
        columns.append(column.alias(f.name))
    return columns, problems


def column_from_json(values: list[Any], t: Type) -> tuple[pl.Series, Problems]:
    """One column of `t`; rows with a problem are null or anything."""
    dtype = polars_dtype(t)
    problems: Problems = {}
    if t.kind == "any":
        texts = [None if v is None and t.nullable else orjson.dumps(v) for v in values]  # null is JSON, too
        return pl.Series(texts, dtype=pl.Binary), problems
    if not t.nullable and t.kind != "null" and None in values:
        problems = {i: f"is null, expected {t}" for i, v in enumerate(values) if v is None}
    allowed = _PYTHON_TYPES.get(t.kind)
    if allowed is not None and not set(map(type, values)) <= allowed:
        for i, v in enumerate(values):
            if type(v) not in allowed:
                problems[i] = f"expected {t}, found {_show(v)}"
        values = [None if i in problems else v for i, v in enumerate(values)]
    if t.kind == "union":
        column, more = _union(values, t)
    elif t.kind in ("array", "map"):
        column, more = _nested(values, t)
    elif t.kind == "record":
        column, more = _record(values, t)
    else:
        column, more = _scalar(values, t, dtype)
    return column, {**more, **problems}


_PYTHON_TYPES: Final[dict[str, set[type]]] = {
    "null": {_NONE}, "bool": {bool, _NONE}, "int": {int, _NONE}, "long": {int, _NONE}, "float": {int, float, _NONE},
    "double": {int, float, _NONE}, "string": {str, _NONE}, "enum": {str, _NONE}, "uuid": {str, _NONE},
    "bytes": {str, _NONE}, "fixed": {str, _NONE}, "date": {str, _NONE}, "time": {str, _NONE},
    "timestamp": {str, int, _NONE}, "local": {str, int, _NONE}, "decimal": {str, int, float, _NONE},
    "array": {list, _NONE}, "map": {dict, _NONE}, "record": {dict, _NONE},
}  # fmt: skip


def _scalar(values: list[Any], t: Type, dtype: pl.DataType) -> tuple[pl.Series, Problems]:
    match t.kind:
        case "int" | "long":
            low, high = (INT_MIN, INT_MAX) if t.kind == "int" else (_LONG_MIN, _LONG_MAX)
            return _kept(values, dtype, lambda v: low <= v <= high, t)
        case "float" | "double":
            return pl.Series([None if v is None else float(v) for v in values], dtype=dtype), {}
        case "null" | "bool" | "string":
            return pl.Series(values, dtype=dtype), {}
        case "enum":
            return _kept(values, dtype, set(t.symbols).__contains__, t)
        case "decimal":
            return _decimals(values, t, dtype)
    if t.kind in ("timestamp", "local") and int in set(map(type, values)):
        return _mixed_times(values, t, dtype)
    texts = pl.Series(values, dtype=pl.String)
    column = _PARSERS[t.kind](texts, t)
    lost = (texts.is_not_null() & column.is_null()).arg_true().to_list()
    return column.cast(dtype), {i: f"expected {t}, found {_show(values[i])}" for i in lost}


def _kept(values: list[Any], dtype: pl.DataType, fits: Callable[[Any], bool], t: Type) -> tuple[pl.Series, Problems]:
    wrong = {v for v in set(values) if v is not None and not fits(v)}
    if not wrong:
        return pl.Series(values, dtype=dtype), {}
    problems = {i: f"expected {t}, found {_show(v)}" for i, v in enumerate(values) if v in wrong}
    return pl.Series([None if v in wrong else v for v in values], dtype=dtype), problems


def _instants(texts: pl.Series, t: Type) -> pl.Series:
    return texts.str.to_datetime("%+", time_unit=t.unit, time_zone="UTC", strict=False)


def _bytes(texts: pl.Series, t: Type) -> pl.Series:
    column = texts.str.decode("base64", strict=False)
    if t.kind != "fixed":
        return column
    return pl.select(pl.when(column.bin.size() == t.size_bytes).then(column)).to_series()


def _uuids(texts: pl.Series, _: Type) -> pl.Series:
    return pl.select(pl.when(texts.str.contains(_UUID)).then(texts)).to_series()


_PARSERS: Final[dict[str, Callable[[pl.Series, Type], pl.Series]]] = {
    "date": lambda texts, _: texts.str.strptime(pl.Date, "%Y-%m-%d", strict=False),
    "time": lambda texts, _: texts.str.strptime(pl.Time, "%H:%M:%S%.f", strict=False),
    "timestamp": _instants,
    "local": lambda texts, t: texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit=t.unit, strict=False),
    "bytes": _bytes,
    "fixed": _bytes,
    "uuid": _uuids,
}


def _mixed_times(values: list[Any], t: Type, dtype: pl.DataType) -> tuple[pl.Series, Problems]:
    numbers = [v if type(v) is int else None for v in values]
    column, problems = _kept(numbers, pl.Int64(), lambda v: _LONG_MIN <= v <= _LONG_MAX, t)
    texts, more = _scalar([v if type(v) is str else None for v in values], t, dtype)
    merged = pl.select(pl.coalesce(column.cast(dtype), texts)).to_series()
    return merged, problems | more


def _decimals(values: list[Any], t: Type, dtype: pl.DataType) -> tuple[pl.Series, Problems]:
    """Exact or refused: a digit too many is never rounded away."""
    limit, found, problems = 10**t.precision, [], {}
    for i, v in enumerate(values):
        one = None
        if v is not None:
            try:
                scaled = EXACT.scaleb(Decimal(v if isinstance(v, int) else str(v)), t.scale)
                if (
                    scaled.is_finite()
                    and scaled.adjusted() <= t.precision
                    and scaled == int(scaled)
                    and abs(scaled) < limit
                ):
                    one = EXACT.scaleb(Decimal(int(scaled)), -t.scale)
            except (DecimalException, ValueError):
                one = None
            if one is None:
                problems[i] = f"expected {t}, found {_show(v)}"
        found.append(one)
    return pl.Series(found, dtype=dtype), problems


def _nested(values: list[Any], t: Type) -> tuple[pl.Series, Problems]:
    assert t.element is not None
    items: list[Any] = list(itertools.chain.from_iterable(
        (v.values() if t.kind == "map" else v) for v in values if v is not None))  # fmt: skip
    lengths = [0 if v is None else len(v) for v in values]
    inner, found = column_from_json(items, t.element)
    if t.kind == "map":
        keys = pl.Series(list(itertools.chain.from_iterable(v for v in values if v is not None)), dtype=pl.String)
        inner = pl.DataFrame({"key": keys, "value": inner}).to_struct()
    rows = np.repeat(np.arange(len(values)), lengths)
    problems: Problems = {}
    for i, message in found.items():
        problems.setdefault(int(rows[i]), f"an item {message}")
    return lists_of(inner, rows, [v is not None for v in values]).cast(polars_dtype(t)), problems


def lists_of(items: pl.Series, rows: np.ndarray[Any, Any], present: Sequence[bool]) -> pl.Series:
    """A list column: `items[i]` goes to row `rows[i]`; rows without items are empty, absent ones null."""
    grouped = pl.DataFrame({"row": rows, "item": items}).group_by("row", maintain_order=True).agg("item")
    index = np.full(len(present), -1)
    index[grouped["row"].to_numpy()] = np.arange(grouped.height)
    # Behind the groups stands one empty list, for the rows that have none.
    groups = pl.concat([grouped["item"], pl.Series("item", [[]], dtype=pl.List(items.dtype))])
    index[(index < 0) & np.array(present, np.bool_)] = grouped.height
    return groups.gather(pl.Series(index).replace(-1, None))


def _record(values: list[Any], t: Type) -> tuple[pl.Series, Problems]:
    present = [i for i, v in enumerate(values) if v is not None]
    columns, found = fields_from_json([values[i] for i in present], t)
    inner = pl.DataFrame(columns).to_struct() if columns else pl.Series([{}] * len(present), dtype=pl.Struct([]))
    problems = {present[i]: message for i, message in found.items()}
    if len(present) == len(values):
        return inner, problems
    index = np.full(len(values), -1)
    index[present] = np.arange(len(present))
    gathered = inner.gather(pl.Series(index).replace(-1, None))
    return gathered, problems


def _union(values: list[Any], t: Type) -> tuple[pl.Series, Problems]:
    """Branches in order; a value goes to the first that takes it."""
    names = branch_names(t)
    fields: list[pl.Series] = []
    open_rows = [i for i, v in enumerate(values) if v is not None]
    for name, branch in zip(names, t.branches, strict=True):
        column, found = column_from_json([values[i] for i in open_rows], branch)
        index = np.full(len(values), -1)
        taken = [(i, at) for at, i in enumerate(open_rows) if at not in found]
        if taken:
            rows, at = zip(*taken, strict=True)
            index[list(rows)] = at
        fields.append(column.gather(pl.Series(index).replace(-1, None)).alias(name))
        open_rows = [i for at, i in enumerate(open_rows) if at in found]
    problems = {i: f"expected {t}, found {_show(values[i])}" for i in open_rows}
    whole = pl.DataFrame(fields).to_struct()
    present = pl.Series([v is not None for v in values], dtype=pl.Boolean)
    return pl.select(pl.when(present).then(whole)).to_series(), problems


def _show(value: object) -> str:
    text = orjson.dumps(value, default=repr).decode(errors="replace")
    return text if len(text) <= 60 else text[:57] + "..."
