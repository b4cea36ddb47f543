"""Rows that a schema cannot hold, found before anything is encoded, so that one bad row never fails a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from streamflow.codecs.avronodes import Node
from streamflow.codecs.evolution import text_of
from streamflow.model.types import branch_names, polars_dtype

_ROW = "@row_in_frame"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that does not encode: its index in the frame, a stable code, and what is wrong."""

    row: int
    code: str
    message: str


def conform(frame: pl.DataFrame, node: Node) -> tuple[pl.DataFrame, list[BadRow]]:
    """The frame with every payload column in the dtype of its type, and the rows that do not fit the schema.

    A column of another dtype is cast; rows whose value is lost by that are bad (`does_not_fit`). A column that is
    missing is null in every row.
    """
    columns: dict[str, pl.Series] = {}
    lost: dict[str, pl.Series] = {}
    schema = frame.schema
    for name, n in node.fields:
        dtype = polars_dtype(n.type)
        if name not in schema:
            columns[name] = pl.Series(name, [None], dtype=dtype).new_from_index(0, frame.height)
        elif schema[name] == dtype:
            columns[name] = frame[name]
        else:
            columns[name] = _cast(frame[name], dtype).alias(name)
            lost[name] = frame[name].is_not_null() & columns[name].is_null()
    checks = _checks(node)
    wrong = pl.DataFrame(list(columns.values())).select_seq(checks.values()) if checks else pl.DataFrame()
    bad: dict[int, BadRow] = {}
    for name, n in node.fields:
        if name in lost:
            _note(bad, lost[name], "does_not_fit", f"field {name!r} is no {n.type}")
        if columns[name].null_count() and not (n.type.nullable or n.kind == "null"):
            what = f"field {name!r} is null, its type {n.type} has no null"
            _note(bad, columns[name].is_null(), "null_value", what)
        if name in checks and wrong[name].any():
            _note(bad, wrong[name], *_rule(name, n))
    kept = [frame[c] for c in schema if c.startswith("@") and c not in columns]
    return pl.DataFrame([*columns.values(), *kept]), [bad[row] for row in sorted(bad)]


def _cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Never raises: what does not convert is null. Casts that polars does not know at all make every row null."""
    if column.dtype == pl.Binary and dtype == pl.String:
        return text_of(column)
    try:
        return column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(column.name, [None], dtype=dtype).new_from_index(0, len(column))


def _note(bad: dict[int, BadRow], mask: pl.Series, code: str, message: str) -> None:
    for row in np.flatnonzero(mask.fill_null(False).to_numpy()).tolist():
        bad.setdefault(row, BadRow(row, code, f"{message}."))


def _rule(name: str, node: Node) -> tuple[str, str]:
    """Code and message of a column that holds what `_wrong` is true of."""
    code, rule = _RULES.get(node.kind, ("does_not_fit", "holds a value that its type does not"))
    if node.type.kind == "uuid":
        code, rule = "does_not_fit", "is no UUID of 36 characters"
    return code, f"field {name!r} {rule}: {node.type}"


_RULES = {
    "enum": ("unknown_symbol", "is none of the symbols"),
    "fixed": ("does_not_fit", "has another size"),
    "union": ("wrong_branch", "must hold exactly one branch"),
}


@lru_cache(maxsize=256)
def _checks(node: Node) -> dict[str, pl.Expr]:
    """What is wrong in the fields of a record, where anything can be."""
    found = {name: _wrong(n, pl.col(name), inner=False) for name, n in node.fields}
    return {name: wrong.alias(name) for name, wrong in found.items() if wrong is not None}


def _wrong(node: Node, value: pl.Expr, *, inner: bool) -> pl.Expr | None:
    """An expression that is true where `value` (or something in it) does not fit; None if nothing can be wrong."""
    checks: list[pl.Expr] = []
    if inner and not node.type.nullable and node.kind != "union":
        checks.append(value.is_null())
    match node.kind:
        case "enum":
            checks.append(~value.is_in(list(node.type.symbols)))
        case "fixed" if node.type.kind == "fixed":
            checks.append(value.bin.size() != node.type.size_bytes)
        case "fixed" if node.type.kind == "uuid":
            checks.append(~value.str.contains(_UUID))
        case "array" | "map":
            assert node.element is not None
            element = pl.element() if node.kind == "array" else pl.element().struct.field("value")
            one = _wrong(node.element, element, inner=True)
            if node.kind == "map":
                null_key = pl.element().struct.field("key").is_null()
                one = null_key if one is None else one | null_key
            if one is not None:
                checks.append(value.list.eval(one.fill_null(False)).list.any())
        case "record":
            for name, n in node.fields:
                one = _wrong(n, value.struct.field(name), inner=True)
                if one is not None:
                    checks.append(value.is_not_null() & one.fill_null(False))
        case "union":
            checks.extend(_wrong_union(node, value, inner=inner))
    if not checks:
        return None
    wrong = checks[0].fill_null(False)
    for check in checks[1:]:
        wrong = wrong | check.fill_null(False)
    return wrong


_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"


def _wrong_union(node: Node, value: pl.Expr, *, inner: bool) -> list[pl.Expr]:
    names = branch_names(node.type)
    held = pl.sum_horizontal([value.struct.field(name).is_not_null().cast(pl.Int32) for name in names])
    checks = [held > 1]
    if not node.type.nullable:
        checks.append(held == 0 if inner else value.is_not_null() & (held == 0))
    for name, branch in zip(names, node.branches, strict=True):
        one = _wrong(branch, value.struct.field(name), inner=False)
        if one is not None:
            checks.append(one)
    return checks
