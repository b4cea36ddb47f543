"""Few records, read and written one by one in Python.

A columnar read or write costs some milliseconds whatever there is of rows, so over a handful of records a plain loop is
several times sooner: what matters where records come one by one. Both give what the columnar ways give, byte for byte
and row for row. Only schemas of plain fields are taken, and of what is read only what is canonical; everything else
goes the columnar way, as if this were not here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import polars as pl

from streamflow.codecs.avro_measure import MismatchError
from streamflow.codecs.avro_shape import column_name, raw_dtype
from streamflow.codecs.avronodes import Node
from streamflow.codecs.varints import varint
from streamflow.model.batch import KEY, POSITION, TS
from streamflow.sdk.log import NewBatch, RecordBatch

FEW: Final = 32  # records: of so many a step still takes less CPU than in columns (docs/decisions/0045)
_PLAIN: Final = ("string", "bytes", "int", "long", "boolean", "enum", "float", "double")
_TIME_MAX: Final = 1 << 62  # beyond any time
_FLOATS: Final = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}

# Takes a value out of a body: (body, where) -> (value, where the next one begins).
_Take = Callable[[bytes, int], tuple[Any, int]]


@lru_cache(maxsize=256)
def readable(node: Node) -> bool:
    """Whether all fields of a record are plain."""
    return bool(node.fields) and all(n.kind in _PLAIN and n.union_size != 1 for _, n in node.fields)


def read(batches: Sequence[RecordBatch], node: Node, *, null_keys: bool, prefix: bytes, opaque: bool) -> pl.DataFrame:
    """What `envelope_columns.read` gives of them. `opaque`: the value is the one field, as it is.

    Raises MismatchError or ValueError where the columnar way has to look.
    """
    columns: list[list[Any]] = [[] for _ in node.fields]
    keys: list[bytes | None] = []
    times: list[int] = []
    positions: list[int] = []
    takes = () if opaque else _takes(node)
    last = -1
    try:
        for batch in batches:
            body, at = batch.body, 0
            for _ in range(batch.count):
                length, at = _number(body, at)
                end = at + length
                if length < 0 or end > len(body) or body[at]:
                    raise MismatchError("a record with attributes, or longer than its batch")
                delta, at = _number(body, at + 1)
                offset, at = _number(body, at)
                size, at = _number(body, at)
                if (size != -1) if null_keys else not 0 <= size <= end - at:
                    raise MismatchError("null keys among others, or a key that is cut off")
                key = None if null_keys else body[at : at + size]
                at += 0 if null_keys else size
                size, at = _number(body, at)
                if size < len(prefix) or at + size != end - 1 or body[end - 1] or not body.startswith(prefix, at):
                    raise MismatchError("no value, headers, or another prefix")
                at += len(prefix)
                if opaque:
                    columns[0].append(body[at : end - 1])
                    at = end - 1
                for take, column in zip(takes, columns, strict=False):
                    value, at = take(body, at)
                    column.append(value)
                if at != end - 1:
                    raise MismatchError("a value shorter or longer than announced")
                at = end
                position = batch.base_offset + offset
                if offset < 0 or not last < position <= batch.last_offset or delta > _TIME_MAX:
                    raise MismatchError("offsets out of order, or a time beyond 64 bits")
                last = position
                keys.append(key)
                positions.append(position)
                times.append(batch.max_timestamp_ms if batch.log_append_time else batch.base_timestamp_ms + delta)
            if at != len(body):
                raise MismatchError("bytes left over")
        series = [
            pl.Series(column_name(i), values, dtype=raw_dtype(n))
            for i, (values, (_, n)) in enumerate(zip(columns, node.fields, strict=True))
        ]
        envelope = [
            pl.Series(KEY, keys, dtype=pl.Binary),
            pl.Series(TS, times, dtype=pl.Int64),
            pl.Series(POSITION, positions, dtype=pl.Int64),
        ]
    except (IndexError, OverflowError, struct.error, TypeError) as error:
        raise MismatchError(str(error)) from error
    return pl.DataFrame([*series, *envelope])


def _number(body: bytes, at: int) -> tuple[int, int]:
    """A varint in its shortest form, and where the next byte is. Raises IndexError where it is cut off."""
    byte = body[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    n, shift = byte & 0x7F, 7
    while shift < 64:
        at += 1
        byte = body[at]
        n |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte or n >> 64:
                break
            return (n >> 1) ^ -(n & 1), at + 1
        shift += 7
    raise MismatchError("a number that is padded, or of more than 64 bits")


@lru_cache(maxsize=256)
def _takes(node: Node) -> tuple[_Take, ...]:
    return tuple(_nullable(_take(n), n) if n.union_size else _take(n) for _, n in node.fields)


def _nullable(take: _Take, node: Node) -> _Take:
    null, there = node.null_tag, node.value_tag

    def nullable(body: bytes, at: int) -> tuple[Any, int]:
        tag = body[at]
        if tag == null:
            return None, at + 1
        if tag != there:
            raise MismatchError("a union branch that does not exist")
        return take(body, at + 1)

    return nullable


def _take(node: Node) -> _Take:
    if node.kind in ("string", "bytes"):
        text = node.kind == "string"

        def sized(body: bytes, at: int) -> tuple[Any, int]:
            size, at = _number(body, at)
            end = at + size
            if size < 0 or end > len(body):
                raise MismatchError("a text that is cut off")
            found = body[at:end]
            return (found.decode() if text else found), end

        return sized
    if node.kind in _FLOATS:
        form = _FLOATS[node.kind]
        return lambda body, at: (form.unpack_from(body, at)[0], at + form.size)
    limits = node.limits
    if limits is None:
        return _number
    low, high = limits

    def limited(body: bytes, at: int) -> tuple[int, int]:
        number, at = _number(body, at)
        if not low <= number <= high:
            raise MismatchError(f"a number outside {limits}")
        return number, at

    return limited


_Write = Callable[[Any], bytes]


@lru_cache(maxsize=256)
def writable(node: Node) -> bool:
    """Whether all fields of a record can be written one by one."""
    return readable(node) and not any(n.type.kind == "decimal" for _, n in node.fields)


def values(columns: Sequence[pl.Series], node: Node, prefix: bytes) -> list[bytes]:
    """The Avro values of rows that fit the schema. `columns`: as polars' Avro writer takes them."""
    parts = [map(write, column.to_list()) for write, column in zip(_writes(node), columns, strict=True)]
    return [b"".join((prefix, *row)) for row in zip(*parts, strict=True)]


@lru_cache(maxsize=256)
def _writes(node: Node) -> tuple[_Write, ...]:
    return tuple(_or_null(_write(n), n) if n.union_size else _write(n) for _, n in node.fields)


def _or_null(write: _Write, node: Node) -> _Write:
    null, there = bytes((node.null_tag,)), bytes((node.value_tag,))
    return lambda value: null if value is None else there + write(value)


def _write(node: Node) -> _Write:
    match node.kind:
        case "string":
            return lambda text: _sized(text.encode())
        case "bytes":
            return _sized
        case "float" | "double":
            return _FLOATS[node.kind].pack
        case "boolean":
            return lambda value: b"\1" if value else b"\0"
    return varint


def _sized(value: bytes) -> bytes:
    return varint(len(value)) + value


def _or_none(value: bytes | None) -> bytes:
    return b"\1" if value is None else _sized(value)  # the varint of -1


def batch(keys: Sequence[bytes | None], times: Sequence[int], values: Sequence[bytes | None]) -> NewBatch:
    """The record batch of these rows, without headers; as `envelope_encode.encode` makes it of one batch."""
    body = bytearray()
    base = times[0]
    for i, (key, time, value) in enumerate(zip(keys, times, values, strict=True)):
        record = b"".join((b"\0", varint(time - base), varint(i), _or_none(key), _or_none(value), b"\0"))
        body += varint(len(record))
        body += record
    return NewBatch(count=len(values), body=bytes(body), base_timestamp_ms=base, max_timestamp_ms=max(times))
