"""Columns of the model's types as the pieces of their Avro bytes. Nothing here runs per row.

Values must have been checked (`avro_check`): no null where none may be, every enum symbol known, fixed of their size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from streamflow.codecs.avro_measure import segment_sums
from streamflow.codecs.avronodes import MAP_KEY, Node
from streamflow.codecs.decimals import WIDTH, decimal_to_table
from streamflow.codecs.pieces import Piece, Tag, assemble, joined, nullable, total_size, zero_byte
from streamflow.codecs.varints import Bytes, Sizes, encode_column, size_of, sizes_of
from streamflow.model.types import branch_names

_COMPOSITE = ("array", "map", "record", "union")


def pieces_of(column: pl.Series, node: Node) -> list[Piece]:
    """The Avro bytes of a column."""
    if node.union_size == 1:
        tag = Piece(1, data=np.zeros(len(column), np.uint8))
        return [tag, *pieces_of(column, replace(node, union_size=0))]
    if node.kind == "null":
        return []
    if node.union_size == 2 and node.null_at == 0 and column.null_count() == len(column):
        return [zero_byte(len(column))]
    if node.kind == "union":
        return [_union(column, node)]
    if node.kind not in _COMPOSITE and node.type.kind != "decimal":
        return [_leaf(column, node)]
    if node.union_size == 2:
        present = column.is_not_null()
        plain = replace(node, union_size=0, null_at=-1, type=node.type.required())
        inner, size = stream_of(column.filter(present), plain)
        return [nullable(present.to_numpy(), inner, size, node.value_tag, node.null_tag)]
    if node.kind == "record":
        fields = column.struct.unnest()
        return [p for name, n in node.fields for p in pieces_of(fields[name], n)]
    if node.kind in ("array", "map"):
        return [_list(column, node)]
    return [_decimal(column, node)]


def stream_of(column: pl.Series, node: Node) -> tuple[Bytes, Sizes]:
    """The Avro bytes of a column, back to back, and their size a row."""
    pieces = pieces_of(column, node)
    return assemble(pieces, len(column)), total_size(pieces)


def lowered(column: pl.Series, node: Node) -> pl.Series:
    """A simple column as polars' Avro writer takes it: it knows no times with zone, no enums, no fixed."""
    t = node.type
    match t.kind:
        case "date":
            return column.cast(pl.Int32)
        case "timestamp" | "local":
            return column.cast(pl.Int64)
        case "time":
            return column.cast(pl.Int64) // (1_000_000 if t.unit == "ms" else 1_000)
        case "enum":
            symbols = pl.Series(list(t.symbols), dtype=pl.String)
            return column.replace_strict(
                symbols, pl.Series(np.arange(len(symbols), dtype=np.int32)), return_dtype=pl.Int32
            )
        case "uuid" if t.size_bytes:
            return column.str.replace_all("-", "", literal=True).str.decode("hex")
    return column


def _leaf(column: pl.Series, node: Node) -> Piece:
    column = lowered(column, node)
    tag: Tag = "drop" if not node.union_size else "keep" if node.null_at == 0 else "flip"
    skip = size_of(node.type.size_bytes) if node.kind == "fixed" else 0
    size: Sizes
    if not column.null_count():
        size = _leaf_sizes(column, node)
    else:
        present = column.is_not_null()
        size = np.zeros(len(column), np.int64)
        size[present.to_numpy()] = _leaf_sizes(column.filter(present), node)
    return Piece(size + (1 if node.union_size else 0), column, tag, skip)


def _leaf_sizes(column: pl.Series, node: Node) -> Sizes:
    match node.kind:
        case "string" | "bytes":
            lengths = (
                (column.str.len_bytes() if node.kind == "string" else column.bin.size()).to_numpy().astype(np.int64)
            )
            return lengths + sizes_of(lengths)
        case "fixed":
            return node.type.size_bytes
        case "boolean":
            return 1
        case "float":
            return 4
        case "double":
            return 8
    return sizes_of(column.to_numpy().astype(np.int64, copy=False))


def _list(column: pl.Series, node: Node) -> Piece:
    """One block of all items: count, items, 0; a lone 0 where there is none."""
    assert node.element is not None
    rows = len(column)
    lengths = column.list.len().to_numpy().astype(np.int64)
    items = column.explode(empty_as_null=False, keep_nulls=False)
    if node.kind == "map":
        pieces = [
            *pieces_of(items.struct.field("key"), MAP_KEY),
            *pieces_of(items.struct.field("value"), node.element),
        ]
        data, size = assemble(pieces, len(items)), total_size(pieces)
    else:
        data, size = stream_of(items, node.element)
    counts, counts_size = encode_column(lengths)
    some = (lengths > 0).astype(np.int64)
    end = np.zeros(int(some.sum()), np.uint8)
    return joined([(counts, counts_size), (data, segment_sums(size, lengths)), (end, some)], rows)


def _union(column: pl.Series, node: Node) -> Piece:
    """The branch is the one field of the struct that is not null."""
    rows = len(column)
    tags = np.full(rows, max(2 * node.null_at, 0), np.uint8)
    parts: list[tuple[Bytes, Sizes]] = [(tags, 1)]
    for i, (name, branch) in enumerate(zip(branch_names(node.type), node.branches, strict=True)):
        values = column.struct.field(name)
        present = values.is_not_null() & column.is_not_null()
        mask = present.to_numpy()
        tags[mask] = 2 * (i + (1 if 0 <= node.null_at <= i else 0))
        data, size = stream_of(values.filter(present), branch)
        sizes = np.zeros(rows, np.int64)
        sizes[mask] = size
        parts.append((data, sizes))
    return joined(parts, rows)


def _decimal(column: pl.Series, node: Node) -> Piece:
    table, needed = decimal_to_table(column)
    size = node.type.size_bytes
    if node.kind == "fixed":
        sign = np.where(table[:, :1] >= 0x80, np.uint8(0xFF), np.uint8(0))
        wide = np.hstack([np.repeat(sign, max(size - WIDTH, 0), axis=1), table[:, max(WIDTH - size, 0) :]])
        return Piece(size, data=np.ascontiguousarray(wide).reshape(-1))
    full = np.empty((len(column), WIDTH + 1), np.uint8)
    full[:, 0] = needed * 2  # the length, a varint below 64
    full[:, 1:] = table
    kept = np.arange(WIDTH + 1) > (WIDTH - needed)[:, None]
    kept[:, 0] = True
    return Piece(needed + 1, data=full[kept])
