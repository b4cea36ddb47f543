"""Avro's schema resolution over whole columns: data written by one schema, read as another.

Fields are matched by name or by the reader's aliases; numbers widen, strings and bytes convert; a field that the
writer lacks takes the reader's default. What the rules allow only for some values (null where the reader has none, a
symbol or branch it does not know) is decided row by row. Source: Avro specification, "Schema Resolution". Three
readings of it are ours: names of records, enums and fixed are compared only to choose a branch of a union; timestamps
of other units convert instead of being reinterpreted; a decimal may grow in precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl

from streamflow.codecs.avronodes import DEPTH_MAX
from streamflow.codecs.avrotypes import enum_default
from streamflow.codecs.decimals import EXACT
from streamflow.model.types import Field, Schema, Type, branch_names, polars_dtype
from streamflow.sdk.errors import SchemaError

# What a kind is in Avro's bytes, where that differs; resolution looks at nothing else.
_CARRIER: Final = {
    "date": "int",
    "timestamp": "long",
    "local": "long",
    "uuid": "string",
    "any": "bytes",
    "bool": "boolean",
}
_PROMOTIONS: Final = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"), ("float", "double"),
    ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Converted:
    """A column in the reader's type, and (if any row can fail) where the writer's value has no reading."""

    value: pl.Expr
    bad: pl.Expr | None = None


def check(writer: Schema, reader: Schema) -> list[str]:
    """Why data of `writer` cannot always be read as `reader`; empty if it can."""
    return _check(writer, reader, "", 0)


def resolve(frame: pl.DataFrame, writer: Schema, reader: Schema) -> pl.DataFrame:
    """Payload columns of `reader` from those of `writer`; reserved columns are kept. Raises SchemaError if a row
    has none.
    """
    resolved, bad = resolve_rows(frame, writer, reader)
    if bad is not None and bad.any():
        raise SchemaError(
            f"{bad.sum()} of {len(bad)} rows cannot be read as {reader}: {'; '.join(check(writer, reader))}."
        )
    return resolved


def resolve_rows(frame: pl.DataFrame, writer: Schema, reader: Schema) -> tuple[pl.DataFrame, pl.Series | None]:
    """The same for all rows, with a mask of those that have no reading (None: there cannot be any).

    Raises SchemaError if no row could be read at all.
    """
    return Resolution(writer, reader).apply(frame)


class Resolution:
    """The resolution of two schemas, worked out once. Raises SchemaError if no row of `writer` could be read."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._same = writer == reader
        if self._same:
            return
        if writer.kind != "record" or reader.kind != "record":
            raise SchemaError(f"{writer} cannot be read as {reader}: only records resolve.")
        columns, bad = _fields(writer, reader, pl.col, "")
        self._columns = [c.alias(f.name) for c, f in zip(columns, reader.fields, strict=True)]
        self._bad = None if bad is None else bad.fill_null(False).alias("bad")
        self.why = "; ".join(check(writer, reader)) or "it holds bytes that are no UTF-8 text"

    def apply(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
        """The reader's columns (columns that start with `@` stay), and which rows have no reading."""
        if self._same:
            return frame, None
        result = frame.select(*self._columns, *(c for c in frame.columns if c.startswith("@")))
        return result, None if self._bad is None else frame.select(self._bad).to_series()


def _fields(
    writer: Type, reader: Type, column: Callable[[str], pl.Expr], at: str
) -> tuple[list[pl.Expr], pl.Expr | None]:
    found: list[pl.Expr] = []
    bad: pl.Expr | None = None
    for f in reader.fields:
        source = _source(writer, f)
        if source is not None:
            one = _convert(source.type, f.type, column(source.name), f"{at}{f.name}")
            found.append(one.value)
            bad = _or(bad, one.bad)
        elif f.has_default:
            found.append(default_literal(f))
        else:
            raise SchemaError(f"field {at}{f.name}: the writer has none and the reader no default.")
    return found, bad


def _source(writer: Type, f: Field) -> Field | None:
    for name in (f.name, *f.aliases):
        found = writer.field(name)
        if found is not None:
            return found
    return None


def _or(a: pl.Expr | None, b: pl.Expr | None) -> pl.Expr | None:
    if a is None or b is None:
        return b if a is None else a
    return a | b


def _convert(w: Type, r: Type, v: pl.Expr, at: str) -> Converted:
    if w == r:
        return Converted(v)
    if r.kind == "null":
        return Converted(pl.lit(None), v.is_not_null() if w.kind != "null" else None)
    bad = None if r.nullable or not w.nullable else v.is_null()
    if w.kind == "null":
        return Converted(pl.lit(None, dtype=polars_dtype(r)), None if r.nullable else pl.lit(True))
    if w.kind == "union":
        one = _from_union(w, r, v, at)
    elif r.kind == "union":
        one = _to_union(w, r, v, at)
    else:
        one = _plain(w, r, v, at)
    return Converted(one.value, _or(bad, one.bad))


def _plain(w: Type, r: Type, v: pl.Expr, at: str) -> Converted:
    problem = _mismatch(w, r)
    if problem:
        raise SchemaError(f"field {at}: {problem}.")
    match r.kind:
        case "record":
            columns, bad = _fields(w, r, v.struct.field, f"{at}.")
            names = [f.name for f in r.fields]
            nothing = pl.lit(pl.Series([{}], dtype=pl.Struct([]))).first()
            value = pl.struct([c.alias(n) for c, n in zip(columns, names, strict=True)]) if columns else nothing
            whole = pl.when(v.is_not_null()).then(value).cast(polars_dtype(r))
            return Converted(whole, None if bad is None else v.is_not_null() & bad)
        case "array" | "map":
            return _items(w, r, v, at)
        case "enum":
            return _enum(w, r, v)
        case "time":
            return Converted(v)
        case "string" if w.kind in ("bytes", "any"):
            value = v.map_batches(text_of, return_dtype=pl.String)
            return Converted(value, v.is_not_null() & value.is_null())
    if w.kind in ("date", "timestamp", "local") and r.kind not in ("date", "timestamp", "local"):
        v = v.to_physical()
    elif r.kind == "date" and w.kind == "int":
        v = v.cast(pl.Int32)
    return Converted(v if polars_dtype(w) == polars_dtype(r) else v.cast(polars_dtype(r), strict=False))


def text_of(column: pl.Series) -> pl.Series:
    """Bytes as text; null where they are no UTF-8. polars refuses the whole column for one such value."""
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series(column.name, [_text(v) for v in column.to_list()], dtype=pl.String)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _items(w: Type, r: Type, v: pl.Expr, at: str) -> Converted:
    assert w.element is not None
    assert r.element is not None
    element = pl.element() if r.kind == "array" else pl.element().struct.field("value")
    one = _convert(w.element, r.element, element, f"{at}[]")
    inside = one.value
    if r.kind == "map":
        inside = pl.struct(pl.element().struct.field("key").alias("key"), inside.alias("value"))
    bad = None if one.bad is None else v.list.eval(one.bad.fill_null(False)).list.any()
    return Converted(v.list.eval(inside).cast(polars_dtype(r)), bad)


def _enum(w: Type, r: Type, v: pl.Expr) -> Converted:
    unknown = [s for s in w.symbols if s not in r.symbols]
    if not unknown:
        return Converted(v)
    default = enum_default(r)
    if default is not None:
        return Converted(v.replace(unknown, [default] * len(unknown)))
    return Converted(v, v.is_in(unknown))


def _from_union(w: Type, r: Type, v: pl.Expr, at: str) -> Converted:
    """Each branch of the writer's union by itself; a row has exactly one."""
    value: pl.Expr = pl.lit(None, dtype=polars_dtype(r))
    bad: pl.Expr | None = None
    possible = False
    for name, branch in zip(branch_names(w), w.branches, strict=True):
        held = v.struct.field(name)
        try:
            one = _convert(branch, r.required() if r.kind != "null" else r, held, f"{at}|{name}")
        except SchemaError:
            bad = _or(bad, held.is_not_null())
            continue
        possible = True
        value = pl.when(held.is_not_null()).then(one.value).otherwise(value)
        bad = _or(bad, None if one.bad is None else held.is_not_null() & one.bad)
    if not possible and not (w.nullable and r.nullable):
        raise SchemaError(f"field {at}: no branch of {w} can be read as {r}.")
    return Converted(value, bad)


def _to_union(w: Type, r: Type, v: pl.Expr, at: str) -> Converted:
    chosen = _branch_for(w, r)
    if chosen is None:
        raise SchemaError(f"field {at}: {w} can be read as no branch of {r}.")
    one = _convert(w.required(), r.branches[chosen], v, at)
    names = branch_names(r)
    columns = [
        (one.value if i == chosen else pl.lit(None, dtype=polars_dtype(b))).alias(names[i])
        for i, b in enumerate(r.branches)
    ]
    return Converted(pl.when(v.is_not_null()).then(pl.struct(columns)).cast(polars_dtype(r)), one.bad)


def _branch_for(w: Type, r: Type) -> int | None:
    """The reader's branch for a writer's type: the same type first, then the first that it promotes to."""
    for i, b in enumerate(r.branches):
        same_name = not b.name or _short(b.name) == _short(w.name) or w.name in b.aliases or _short(w.name) in b.aliases
        if _carrier(b) == _carrier(w) and same_name and not _check(w.required(), b, "", 0):
            return i
    return next((i for i, b in enumerate(r.branches) if not _check(w.required(), b, "", 0)), None)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _carrier(t: Type) -> str:
    if t.kind == "time":
        return "int" if t.unit == "ms" else "long"
    if t.size_bytes and t.kind in ("decimal", "uuid"):
        return "fixed"
    return "bytes" if t.kind == "decimal" else _CARRIER.get(t.kind, t.kind)


def _mismatch(w: Type, r: Type) -> str:
    """Why one plain type cannot be read as another; empty if it can."""
    if w.kind == r.kind:
        if r.kind == "fixed" and w.size_bytes != r.size_bytes:
            return f"fixed of {w.size_bytes} bytes cannot be read as {r.size_bytes} bytes"
        if r.kind == "decimal" and (w.scale != r.scale or w.precision > r.precision):
            return f"{w} cannot be read as {r}"
        return ""
    if "decimal" in (w.kind, r.kind) or "time" in (w.kind, r.kind) or "any" in (w.kind, r.kind):
        return "" if {w.kind, r.kind} <= {"any", "bytes", "string"} else f"{w} cannot be read as {r}"
    a, b = _carrier(w), _carrier(r)
    return "" if a == b or (a, b) in _PROMOTIONS else f"{w} cannot be read as {r}"


def _check(w: Type, r: Type, at: str, depth: int) -> list[str]:
    place = f"field {at}: " if at else ""
    if depth > DEPTH_MAX:
        return [f"{place}nested deeper than {DEPTH_MAX}"]
    if w == r:
        return []
    found: list[str] = []
    if w.nullable and not r.nullable:
        found.append(f"{place}the writer may write null, the reader's {r} has none")
    if w.kind == "null":
        return found
    if w.kind == "union":
        for b in w.branches:
            found.extend(_check(b, r.required(), at, depth + 1))
        return found
    if r.kind == "union":
        if _branch_for(w, r) is None:
            found.append(f"{place}{w} can be read as no branch of {r}")
        return found
    problem = _mismatch(w, r)
    if problem:
        return [*found, f"{place}{problem}"]
    if r.kind == "record":
        for f in r.fields:
            source = _source(w, f)
            if source is not None:
                found.extend(_check(source.type, f.type, f"{at}.{f.name}" if at else f.name, depth + 1))
            elif not f.has_default:
                found.append(f"field {at}{'.' if at else ''}{f.name}: the writer has none and the reader no default")
    elif r.element is not None and w.element is not None:
        found.extend(_check(w.element, r.element, f"{at}[]", depth + 1))
    elif r.kind == "enum" and enum_default(r) is None:
        unknown = [s for s in w.symbols if s not in r.symbols]
        if unknown:
            found.append(f"{place}the reader's enum lacks {', '.join(unknown)} and has no default")
    return found


def default_literal(f: Field) -> pl.Expr:
    """A field's default as a constant column."""
    try:
        value = pl.Series([_storable(f.type, f.default)], dtype=_storage(f.type)).cast(polars_dtype(f.type))
    except (TypeError, ValueError, KeyError, OverflowError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"field {f.name}: default {f.default!r} is no {f.type}.") from error
    return pl.lit(value).first()


def _storage(t: Type) -> pl.DataType:
    """Dtype in which a default is handed to polars: as in Avro, dates and times are numbers."""
    if t.kind in ("date", "timestamp", "local", "time"):
        return pl.Int64() if t.kind != "date" else pl.Int32()
    if t.element is not None:
        inner = _storage(t.element)
        return pl.List(inner if t.kind == "array" else pl.Struct({"key": pl.String(), "value": inner}))
    if t.kind == "record":
        return pl.Struct({f.name: _storage(f.type) for f in t.fields})
    if t.kind == "union":
        return pl.Struct({n: _storage(b) for n, b in zip(branch_names(t), t.branches, strict=True)})
    return polars_dtype(t)


def _storable(t: Type, default: Any) -> Any:
    if default is None:
        if not t.nullable and t.kind != "null":
            raise ValueError("null")
        return None
    match t.kind:
        case "bytes" | "fixed" | "any":
            return str(default).encode("latin-1")  # Avro: code points 0-255 are the bytes
        case "decimal":
            number = int.from_bytes(str(default).encode("latin-1"), "big", signed=True)
            return EXACT.scaleb(Decimal(number), -t.scale)
        case "time":
            return int(default) * (1_000_000 if t.unit == "ms" else 1_000)
        case "array":
            assert t.element is not None
            return [_storable(t.element, one) for one in default]
        case "map":
            assert t.element is not None
            return [{"key": k, "value": _storable(t.element, v)} for k, v in default.items()]
        case "record":
            return {f.name: _storable(f.type, default.get(f.name, f.default)) for f in t.fields}
        case "union":  # a default is of the first branch
            return {n: _storable(b, default) if i == 0 else None
                    for i, (n, b) in enumerate(zip(branch_names(t), t.branches, strict=True))}  # fmt: skip
    return default
