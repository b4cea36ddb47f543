"""Single Avro values: for what the columnar read cannot take. Same rows, slower.

First all values at once without their envelope (headers and mixed null keys need no more); then, if those bytes are not
canonical or the schema has unions of several types, one by one: a strict walk, then fastavro.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import fastavro
import numpy as np
import polars as pl

from streamflow.codecs.avro_bounds import check
from streamflow.codecs.avro_measure import Ints, MismatchError, measure_all
from streamflow.codecs.avro_shape import column_name, raise_frame, raw_columns, raw_dtype
from streamflow.codecs.avronodes import Node
from streamflow.codecs.containers import container, header_of
from streamflow.codecs.envelope_columns import NATIVE_ERRORS, tags_fit
from streamflow.codecs.pieces import per_row

ALONE_MAX: Final = 1_000  # values that are looked at one by one because of one among them


@dataclass(frozen=True, slots=True)
class Values:
    """Decoded values: `frame` has the good ones in order, `errors` says which indices are not among them and why."""

    frame: pl.DataFrame
    errors: dict[int, str] = field(default_factory=dict)


def decode_values(values: Sequence[bytes], node: Node, *, start: int = 0) -> Values:
    """The values from byte `start` on (behind their prefix) as payload columns of record `node`."""
    if all(n.is_columnar for _, n in node.fields) and any(not n.is_empty for _, n in node.fields):
        try:
            return Values(raise_frame(node, _read_joined(values, node, start)))
        except NATIVE_ERRORS:
            if len(values) > ALONE_MAX:  # some value is not canonical: keep what is around it fast
                return _halved(values, node, start)
    return decode_each(values, node, start=start)


def _halved(values: Sequence[bytes], node: Node, start: int) -> Values:
    middle = len(values) // 2
    one, two = (decode_values(part, node, start=start) for part in (values[:middle], values[middle:]))
    return Values(pl.concat([one.frame, two.frame]), one.errors | {middle + i: why for i, why in two.errors.items()})


def decode_each(values: Sequence[bytes], node: Node, *, start: int = 0) -> Values:
    """The same, one by one through fastavro."""
    schema, fields = _raw_schema(node), [column_name(i) for i, (_, n) in enumerate(node.fields) if not n.is_empty]
    rows: list[tuple[Any, ...]] = []
    errors: dict[int, str] = {}
    for i, value in enumerate(values):
        try:
            check(value, node, start)
        except ValueError as error:
            errors[i] = f"not a value of the schema: {error}"
            continue
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[start:] if start else value), schema)
        rows.append(tuple(record[name] for name in fields))
    dtypes = {column_name(i): raw_dtype(n) for i, (_, n) in enumerate(node.fields) if not n.is_empty}
    columns = zip(*rows, strict=True) if rows else [() for _ in fields]
    series = [pl.Series(name, list(column), dtype=dtypes[name]) for name, column in zip(fields, columns, strict=True)]
    raw = pl.DataFrame([*series, pl.Series("@n", np.arange(len(rows)))])
    return Values(raise_frame(node, raw).drop("@n"), errors)


@lru_cache(maxsize=256)
def _raw_schema(node: Node) -> Any:
    return fastavro.parse_schema({"type": "record", "name": "Row", "fields": raw_columns(node)})


@lru_cache(maxsize=256)
def _header(node: Node) -> bytes:
    return header_of(raw_columns(node))


def decode_joined(body: bytes, count: int, node: Node) -> pl.DataFrame:
    """`count` values back to back as payload columns. Raises ValueError for bytes that are none."""
    if all(n.is_columnar for _, n in node.fields) and any(not n.is_empty for _, n in node.fields):
        try:
            return raise_frame(node, _read(body, count, node)[0])
        except NATIVE_ERRORS:
            pass  # not canonical, or no values at all
    schema, stream, values, at = _raw_schema(node), io.BytesIO(body), [], 0
    try:
        for _ in range(count):
            fastavro.schemaless_reader(stream, schema, None)
            values.append(body[at : stream.tell()])
            at = stream.tell()
    except (EOFError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(f"{count} values are not there: {error}") from error
    found = decode_each(values, node)
    if found.errors or at != len(body):
        raise ValueError(next(iter(found.errors.values()), f"{len(body) - at} bytes behind the last value"))
    return found.frame


def _read_joined(values: Sequence[bytes], node: Node, start: int) -> pl.DataFrame:
    bodies = [v[start:] for v in values] if start else values
    raw, sizes = _read(b"".join(bodies), len(values), node)
    if not (np.fromiter(map(len, bodies), np.int64, len(bodies)) == sizes).all():
        raise MismatchError("a value shorter or longer than its bytes")
    return raw


def _read(body: bytes, count: int, node: Node) -> tuple[pl.DataFrame, Ints]:
    """The raw columns of values back to back, and the bytes of each."""
    raw = pl.read_avro(io.BytesIO(container(_header(node), count, body)))
    if raw.height != count:
        raise MismatchError("fewer values than there are")
    parts = measure_all(raw, ((column_name(i), n) for i, (_, n) in enumerate(node.fields) if not n.is_empty))
    sizes = per_row(sum((p.size for p in parts), start=0), count)
    if int(sizes.sum()) != len(body):
        raise MismatchError("values shorter or longer than their bytes")
    if any(p.node.has_tags for p in parts) and not tags_fit(parts, np.cumsum(sizes) - sizes, body):
        raise MismatchError("a union branch that does not exist")
    return raw, sizes
