"""Items into a schema they were not made for: fields by name, values widened, what does not fit an item error.

`fit` decides once, from two types, how a value gets from one to the other. What only the value can tell (a null for a
required field, a long that does not fit an int) becomes a check on the column, so that a record that a topic's schema
would refuse is an item error before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from streamflow.model.types import Field, Schema, Type, branch_names, polars_dtype

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_WIDER: dict[str, frozenset[str]] = {
    "int": frozenset(("long", "float", "double")),
    "long": frozenset(("int", "float", "double")),
    "float": frozenset(("double",)),
    "double": frozenset(("float",)),
}
Check = Callable[[pl.Expr], pl.Expr]


class Misfit(NamedTuple):
    """Why a type cannot become another. `path` is the field, dotted; "" is the item."""

    path: str
    message: str


@dataclass(slots=True)
class Fit:
    """How a value becomes another type. `checks` are (true where wrong, code, text), each on the value as it was."""

    value: pl.Expr
    checks: list[tuple[pl.Expr, str, str]] = field(default_factory=list)
    same: bool = False  # nothing to do


def fit(value: pl.Expr, source: Type, target: Type, path: str) -> Fit | Misfit:
    """The way from `source` to `target` for the value `value`."""
    checks: list[tuple[pl.Expr, str, str]] = []
    if not target.nullable and source.nullable and source.kind != "null":
        checks.append((value.is_null(), "null_value", f"{path} is null, and the schema requires a value"))
    plain = _fit_value(value, source.required(), target.required(), path)
    if isinstance(plain, Misfit):
        return plain
    if source.kind == "null" and not target.nullable and target.kind != "null":
        return Misfit(path, "is always null, and the schema requires a value")
    return Fit(plain.value, checks + plain.checks, plain.same)


def _fit_value(value: pl.Expr, source: Type, target: Type, path: str) -> Fit | Misfit:
    dtype = polars_dtype(target)
    if source.kind == "null":
        return Fit(pl.lit(None, dtype))
    if source == target:
        return Fit(value, same=True)
    if target.kind in _WIDER.get(source.kind, ()):
        if source.kind == "long" and target.kind == "int":
            wrong = (value < _INT_MIN) | (value > _INT_MAX)
            return Fit(value.cast(dtype, strict=False), [(wrong, "overflow", f"{path} does not fit 32 bits")])
        return Fit(value.cast(dtype, strict=False))
    if source.is_text and target.is_text:
        return Fit(value, _text_checks(value, source, target, path), same=True)
    if source.kind in ("bytes", "fixed") and target.kind in ("bytes", "fixed"):
        checks = []
        if target.kind == "fixed" and source.size_bytes != target.size_bytes:
            wrong = value.bin.size() != target.size_bytes
            checks = [(wrong, "wrong_size", f"{path} is not {target.size_bytes} bytes long")]
        return Fit(value, checks, same=True)
    if source.kind == target.kind and source.kind in ("timestamp", "local", "time"):
        return Fit(value.cast(dtype, strict=False))
    if target.kind == "decimal" and source.kind in ("decimal", "int", "long"):
        cast = value.cast(dtype, strict=False)
        return Fit(cast, [(value.is_not_null() & cast.is_null(), "overflow", f"{path} does not fit {target}")])
    if target.kind == "union":
        return _fit_union(value, source, target, path)
    if source.kind == target.kind == "record":
        return _fit_record(value, source, target, path)
    if source.kind == target.kind and source.kind in ("array", "map"):
        return _fit_elements(value, source, target, path)
    return Misfit(path, f"is {source}, and the schema wants {target}")


def _text_checks(value: pl.Expr, source: Type, target: Type, path: str) -> list[tuple[pl.Expr, str, str]]:
    if target.kind == "enum" and not (source.kind == "enum" and set(source.symbols) <= set(target.symbols)):
        wrong = ~value.is_in(list(target.symbols))
        return [(wrong, "not_in_enum", f"{path} is none of {', '.join(target.symbols)}")]
    if target.kind == "uuid" and source.kind != "uuid":
        return [(~value.str.contains(_UUID), "bad_cast", f"{path} is no UUID")]
    return []


def _fit_union(value: pl.Expr, source: Type, target: Type, path: str) -> Fit | Misfit:
    names, found = branch_names(target), None
    for name, branch in zip(names, target.branches, strict=True):
        way = _fit_value(value, source, branch, path)
        if isinstance(way, Fit) and (found is None or way.same) and not (found and found[1].same):
            found = (name, way)
    if found is None:
        return Misfit(path, f"is {source}, and the schema wants {target}")
    chosen, way = found
    struct = pl.struct(
        [
            (way.value if n == chosen else pl.lit(None, polars_dtype(b))).alias(n)
            for n, b in zip(names, target.branches, strict=True)
        ]
    )
    return Fit(pl.when(value.is_not_null()).then(struct), way.checks)


def _fit_record(value: pl.Expr, source: Type, target: Type, path: str) -> Fit | Misfit:
    columns: dict[str, pl.Expr] = {}
    checks: list[tuple[pl.Expr, str, str]] = []
    for wanted in target.fields:
        inner = f"{path}.{wanted.name}" if path else wanted.name
        given = source.field(wanted.name) or next((f for a in wanted.aliases if (f := source.field(a))), None)
        if given is None:
            if not (wanted.has_default or wanted.type.nullable):
                return Misfit(inner, "is missing, and the schema gives no default")
            columns[wanted.name] = default_value(wanted)
            continue
        way = fit(value.struct.field(given.name), given.type, wanted.type, inner)
        if isinstance(way, Misfit):
            return way
        columns[wanted.name] = way.value
        checks += [(value.is_not_null() & wrong, code, text) for wrong, code, text in way.checks]
    return Fit(
        pl.when(value.is_not_null()).then(pl.struct([value.alias(name) for name, value in columns.items()])), checks
    )


def _fit_elements(value: pl.Expr, source: Type, target: Type, path: str) -> Fit | Misfit:
    assert source.element is not None
    assert target.element is not None
    element, dtype = pl.element(), polars_dtype(target)
    inner = element if source.kind == "array" else element.struct.field("value")
    way = fit(inner, source.element, target.element, f"{path}[]")
    if isinstance(way, Misfit):
        return way
    if way.same and not way.checks and polars_dtype(source) == dtype:
        return Fit(value, same=True)
    new = way.value if source.kind == "array" else pl.struct(element.struct.field("key"), way.value.alias("value"))
    checks = [(value.list.eval(wrong).list.any(), code, text) for wrong, code, text in way.checks]
    return Fit(value.list.eval(new).cast(dtype, strict=False), checks)


def default_value(wanted: Field) -> pl.Expr:
    """The default of a field as a literal of its dtype; null where it has none and may be null."""
    dtype = polars_dtype(wanted.type)
    if not wanted.has_default or wanted.default is None:
        return pl.lit(None, dtype)
    return pl.lit(pl.Series([json_default(wanted.default, wanted.type)], dtype=dtype)).first()


def json_default(value: object, t: Type) -> object:
    """An Avro default in JSON form as what polars takes for the type."""
    if value is None:
        return None
    if t.kind in ("bytes", "fixed") and isinstance(value, str):
        return value.encode("latin-1")
    if t.kind == "array" and isinstance(value, list) and t.element is not None:
        return [json_default(v, t.element) for v in value]
    if t.kind == "map" and isinstance(value, dict) and t.element is not None:
        return [{"key": k, "value": json_default(v, t.element)} for k, v in value.items()]
    if t.kind == "record" and isinstance(value, dict):
        return {f.name: json_default(value.get(f.name, f.default), f.type) for f in t.fields}
    if t.kind == "union":
        return {
            n: (json_default(value, b) if at == 0 else None)
            for at, (n, b) in enumerate(zip(branch_names(t), t.branches))
        }
    return value


@dataclass(frozen=True, slots=True)
class Fitting:
    """How items of one record schema become items of another: columns to make, and what to check."""

    columns: tuple[pl.Expr, ...]  # new and changed payload columns, named; unchanged ones are handed on
    dropped: tuple[str, ...]
    checks: tuple[tuple[pl.Expr, str, str], ...]

    @property
    def nothing(self) -> bool:
        return not (self.columns or self.dropped or self.checks)


def fit_items(source: Schema, target: Schema) -> Fitting | list[Misfit]:
    """The way from record items to another record schema, or everything that does not fit."""
    columns: list[pl.Expr] = []
    checks: list[tuple[pl.Expr, str, str]] = []
    wrong: list[Misfit] = []
    for wanted in target.fields:
        given = source.field(wanted.name) or next((f for a in wanted.aliases if (f := source.field(a))), None)
        if given is None:
            if wanted.has_default or wanted.type.nullable:
                columns.append(default_value(wanted).alias(wanted.name))
            else:
                wrong.append(Misfit(wanted.name, "is missing, and the schema gives no default"))
            continue
        way = fit(pl.col(given.name), given.type, wanted.type, wanted.name)
        if isinstance(way, Misfit):
            wrong.append(way)
            continue
        checks += way.checks
        if not way.same or given.name != wanted.name:
            columns.append(way.value.alias(wanted.name))
    if wrong:
        return wrong
    names = {f.name for f in target.fields}
    dropped = tuple(f.name for f in source.fields if f.name not in names)
    return Fitting(tuple(columns), dropped, tuple(checks))
