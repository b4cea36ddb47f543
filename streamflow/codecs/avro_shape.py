"""How a schema is shown to the native readers, and what is made of what they return.

Both native readers (polars, fastavro) are shown a *raw* schema that has the same bytes: every integer is a `long`
(polars cuts wider numbers to 32 bits silently), booleans are longs too (a byte other than 0 and 1 shows as another
number), enums are their index, maps are arrays of records, fields without bytes are left out, and no logical types.
`raw_dtype` is the dtype of what comes back and `raised` turns it into the model's dtypes, all in polars expressions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl

from streamflow.codecs.avronodes import Node
from streamflow.codecs.decimals import decimal_from_bytes
from streamflow.model.types import branch_names, polars_dtype

_LONGS: Final = ("boolean", "int", "long", "enum")


def raw_avro(node: Node, names: Iterator[int] | None = None) -> Any:
    """The raw schema of a node as Avro JSON."""
    names = itertools.count() if names is None else names
    value = _raw_value(node, names)
    if node.kind == "union":
        inner = [{"type": "record", "name": f"U{next(names)}", "fields": [{"name": f"b{i}", "type": one}]}
                 for i, one in enumerate(value)]  # fmt: skip
        return [*inner[: node.null_at], "null", *inner[node.null_at :]] if node.null_at >= 0 else inner
    if node.union_size == 2:
        return ["null", value] if node.null_at == 0 else [value, "null"]
    return [value] if node.union_size else value


def _raw_value(node: Node, names: Iterator[int]) -> Any:
    if node.kind in _LONGS:
        return "long"
    if node.kind == "fixed":
        return {"type": "fixed", "name": f"F{next(names)}", "size": node.type.size_bytes}
    if node.kind == "array":
        assert node.element is not None
        return {"type": "array", "items": raw_avro(node.element, names)}
    if node.kind == "map":
        assert node.element is not None
        value = [] if node.element.is_empty else [{"name": "value", "type": raw_avro(node.element, names)}]
        entry = {"type": "record", "name": f"M{next(names)}", "fields": [{"name": "key", "type": "string"}, *value]}
        return {"type": "array", "items": entry}
    if node.kind == "record":
        return {"type": "record", "name": f"R{next(names)}", "fields": raw_fields(node, names)}
    if node.kind == "union":
        return [raw_avro(b, names) for b in node.branches]
    return node.kind


def raw_fields(node: Node, names: Iterator[int]) -> list[dict[str, Any]]:
    """The fields of an inner record's raw schema: those that take any bytes."""
    return [{"name": name, "type": raw_avro(n, names)} for name, n in node.fields if not n.is_empty]


def raw_columns(node: Node) -> list[dict[str, Any]]:
    """The same for the outermost record, whose fields become columns."""
    names = itertools.count()
    return [
        {"name": column_name(i), "type": raw_avro(n, names)} for i, (_, n) in enumerate(node.fields) if not n.is_empty
    ]


def raw_dtype(node: Node) -> pl.DataType:
    """The dtype in which a raw column arrives."""
    if node.kind in _LONGS:
        return pl.Int64()
    if node.kind == "array":
        assert node.element is not None
        return pl.List(raw_dtype(node.element))
    if node.kind == "map":
        assert node.element is not None
        entry: dict[str, pl.DataType] = {"key": pl.String()}
        if not node.element.is_empty:
            entry["value"] = raw_dtype(node.element)
        return pl.List(pl.Struct(entry))
    if node.kind == "record":
        return pl.Struct({name: raw_dtype(n) for name, n in node.fields if not n.is_empty})
    if node.kind == "union":
        return pl.Struct({f"b{i}": raw_dtype(b) for i, b in enumerate(node.branches)})
    simple: dict[str, pl.DataType] = {
        "float": pl.Float32(),
        "double": pl.Float64(),
        "string": pl.String(),
        "null": pl.Null(),
    }
    return simple.get(node.kind, pl.Binary())


def raised(node: Node, raw: pl.Expr) -> pl.Expr:
    """The expression that turns a raw column into the model's column."""
    t = node.type
    dtype = polars_dtype(t)
    match node.kind:
        case "boolean":
            return raw != 0
        case "enum":
            symbols = pl.Series(list(t.symbols), dtype=pl.String)
            return raw.replace_strict(pl.Series(np.arange(len(symbols))), symbols, default=None, return_dtype=pl.String)
        case "int" | "long" if t.kind == "time":
            return (raw * (1_000_000 if t.unit == "ms" else 1_000)).cast(pl.Time)
        case "int":
            return raw.cast(pl.Int32) if t.kind == "int" else raw.cast(pl.Int32).cast(dtype)
        case "long":
            return raw if t.kind == "long" else raw.cast(dtype)
        case "bytes" | "fixed" if t.kind == "decimal":
            return raw.map_batches(lambda s: decimal_from_bytes(s, t.precision, t.scale), return_dtype=dtype)
        case "fixed" if t.kind == "uuid":
            hexed = raw.bin.encode("hex")
            parts = [hexed.str.slice(at, n) for at, n in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
            return pl.concat_str(parts, separator="-")
        case "array" | "map":
            return _raised_list(node, raw)
        case "record":
            return _raised_struct({name: (name, n) for name, n in node.fields}, raw)
        case "union":
            named = zip(branch_names(t), node.branches, strict=True)
            return _raised_struct({name: (f"b{i}", n) for i, (name, n) in enumerate(named)}, raw, union=True)
    return raw


def _raised_struct(fields: dict[str, tuple[str, Node]], raw: pl.Expr, *, union: bool = False) -> pl.Expr:
    columns: list[pl.Expr] = []
    for name, (source, n) in fields.items():
        if not n.is_empty:
            column = raised(n, raw.struct.field(source))
        elif union:  # a branch without bytes is told by its tag alone
            column = pl.when(raw.struct.field(source).is_not_null()).then(_nothing(n))
        else:
            column = _nothing(n)
        columns.append(column.alias(name))
    if not columns:
        return raw
    return pl.when(raw.is_not_null()).then(pl.struct(columns))


def _raised_list(node: Node, raw: pl.Expr) -> pl.Expr:
    assert node.element is not None
    if not needs_raising(node):
        return raw
    if node.kind == "array":
        return raw.list.eval(raised(node.element, pl.element()))
    value = (
        _nothing(node.element) if node.element.is_empty else raised(node.element, pl.element().struct.field("value"))
    )
    return raw.list.eval(pl.struct(pl.element().struct.field("key").alias("key"), value.alias("value")))


def needs_raising(node: Node) -> bool:
    """True if the raw dtype is not already the model's column."""
    if node.is_empty:
        return True
    if node.kind in ("array", "map"):
        assert node.element is not None
        return needs_raising(node.element)
    if node.kind == "record":
        return any(needs_raising(n) for _, n in node.fields)
    return node.kind not in ("float", "double", "string") and node.type.kind not in ("long", "bytes", "fixed", "any")


def _nothing(node: Node) -> pl.Expr:
    """A column of a type without bytes."""
    return pl.lit(_empty_value(node)).first()


def column_name(i: int) -> str:
    """Name of the raw column of a record's i-th field: short, and never that of an envelope column."""
    return f"f{i}"


def raise_frame(node: Node, raw: pl.DataFrame) -> pl.DataFrame:
    """Payload columns of record `node` from raw columns named by `column_name`; columns that start with `@` are
    kept.
    """
    to_raise = _to_raise(node)
    new = raw.select_seq(to_raise.values()) if to_raise else raw
    fields: list[pl.Series] = []
    for i, (name, n) in enumerate(node.fields):
        if n.is_empty:
            fields.append(_empty_value(n).new_from_index(0, raw.height).alias(name))
        else:
            fields.append(new[name] if name in to_raise else raw[column_name(i)].alias(name))
    return pl.DataFrame([*fields, *(raw[c] for c in raw.columns if c.startswith("@"))])


@lru_cache(maxsize=256)
def _to_raise(node: Node) -> dict[str, pl.Expr]:
    """The fields of a record whose raw columns are not what is wanted, and how they become that."""
    return {
        name: raised(n, pl.col(column_name(i))).cast(polars_dtype(n.type)).alias(name)
        for i, (name, n) in enumerate(node.fields)
        if not n.is_empty and needs_raising(n)
    }


def _empty_value(node: Node) -> pl.Series:
    return pl.Series([_only_value(node)], dtype=polars_dtype(node.type))


def _only_value(node: Node) -> Any:
    """The one value of a type without bytes."""
    if node.kind == "record":
        return {name: _only_value(n) for name, n in node.fields}
    return b"" if node.kind == "fixed" else None
