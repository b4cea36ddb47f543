"""Whole record batches as columns: the envelope and the value of every record, read in one native call.

A Kafka v2 record has the layout of an Avro record {length, attributes, timestampDelta, offsetDelta, key, valueLength,
value, headerCount}, since both use zigzag varints and length-prefixed bytes. Bodies of several batches are read at
once. It works only where all records look alike: all keys null or none, no headers, one framing prefix, canonical
values. `read` proves that it did (see `avro_measure`) or refuses.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl

from streamflow.codecs import few_records
from streamflow.codecs.avro_measure import Measured, MismatchError, byte_lengths, check_tags, measure
from streamflow.codecs.avro_shape import column_name, raw_columns
from streamflow.codecs.avronodes import Node
from streamflow.codecs.containers import SYNC_SIZE, container, header_of
from streamflow.codecs.varints import read_varint, sizes_of
from streamflow.model.batch import KEY, POSITION, TS
from streamflow.model.types import BYTES
from streamflow.sdk.log import RecordBatch

NATIVE_ERRORS: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, MismatchError)
"""All that the native reader raises for bytes that are not what it was told. PanicException is no Exception."""

OPAQUE: Final = Node("record", BYTES, fields=(("value", Node("bytes", BYTES)),))
"""Values taken as they are: valueLength and value are then one Avro `bytes`."""

PREFIX_NONE, PREFIX_CONFLUENT, PREFIX_SINGLE_OBJECT = 0, 5, 10


@dataclass(frozen=True, slots=True)
class Look:
    """What distinguishes batches that cannot be read together."""

    null_keys: bool
    prefix: bytes


def look(batch: RecordBatch, prefix_size: int) -> Look | None:
    """How the first record of a batch looks; None if it has no value, or is damaged."""
    body, end = batch.body, len(batch.body)
    try:
        _, at = read_varint(body, 0, end)
        _, at = read_varint(body, at + 1, end)
        _, at = read_varint(body, at, end)
        key_size, at = read_varint(body, at, end)
        at += max(key_size, 0)
        value_size, at = read_varint(body, at, end)
    except ValueError:
        return None
    if value_size < prefix_size or key_size < -1:
        return None
    return Look(key_size == -1, body[at : at + prefix_size])


def read(batches: Sequence[RecordBatch], node: Node, looks: Look) -> pl.DataFrame:
    """Raw columns of the values (see `avro_shape`) and `@key`, `@ts`, `@position` of all records of these batches.

    Raises one of NATIVE_ERRORS when they do not look like that in every byte.
    """
    if sum(b.count for b in batches) <= few_records.FEW and few_records.readable(node):
        return few_records.read(batches, node, null_keys=looks.null_keys, prefix=looks.prefix, opaque=node is OPAQUE)
    counts = np.array([b.count for b in batches], np.int64)
    count, size = int(counts.sum()), sum(len(b.body) for b in batches)
    header = _header(node, looks.null_keys, len(looks.prefix))
    whole = container(header, count, *(b.body for b in batches))
    raw = pl.read_avro(io.BytesIO(whole))
    if raw.height != count:
        raise MismatchError("fewer records than announced")
    ts_delta, off = raw["ets"].to_numpy(), raw["eoff"].to_numpy()
    _check(raw, node, looks, memoryview(whole)[-size - SYNC_SIZE : -SYNC_SIZE])
    position, ts = _positions(batches, counts, off), _times(batches, counts, ts_delta)
    key = pl.Series([None], dtype=pl.Binary).new_from_index(0, count) if looks.null_keys else raw["ekey"]
    values = [raw[column_name(i)] for i, (_, n) in enumerate(node.fields) if not n.is_empty]
    return pl.DataFrame([*values, key.alias(KEY), pl.Series(TS, ts), pl.Series(POSITION, position)])


def read_deletions(batches: Sequence[RecordBatch]) -> pl.DataFrame:
    """`@key` and `@position` of records that have a key and no value. Raises as `read` does."""
    counts = np.array([b.count for b in batches], np.int64)
    count, size = int(counts.sum()), sum(len(b.body) for b in batches)
    raw = pl.read_avro(io.BytesIO(container(_deletions_header(), count, *(b.body for b in batches))))
    if raw.height != count:
        raise MismatchError("fewer records than announced")
    if not (raw["evlen"] == -1).all() or raw["eattr"].any() or raw["eheaders"].any():
        raise MismatchError("records with a value, headers or attributes")
    off = raw["eoff"].to_numpy()
    key_bytes = raw["ekey"].bin.size().to_numpy().astype(np.int64)
    held = 3 + sizes_of(raw["ets"].to_numpy()) + sizes_of(off) + sizes_of(key_bytes) + key_bytes
    length = raw["elen"].to_numpy()
    if not (length == held).all() or int((length + sizes_of(length)).sum()) != size:
        raise MismatchError("a record shorter or longer than announced")
    return pl.DataFrame([raw["ekey"].alias(KEY), pl.Series(POSITION, _positions(batches, counts, off))])


def _check(raw: pl.DataFrame, node: Node, looks: Look, body: memoryview) -> None:
    """Every record takes the bytes it announces, and all together take the whole body."""
    lengths = byte_lengths(raw)
    if looks.null_keys:
        if not (raw["ekey"] == -1).all():
            raise MismatchError("null keys among others")
        key_size: Any = 1
    else:
        key_size = lengths["ekey"] + sizes_of(lengths["ekey"])
    if raw["eheaders"].to_numpy().any() or raw["eattr"].to_numpy().any():
        raise MismatchError("records with headers or attributes")
    _check_prefix(raw, looks.prefix)
    names = {column_name(i): n for i, (_, n) in enumerate(node.fields) if not n.is_empty}
    parts = [measure(raw[name], n, lengths.get(name)) for name, n in names.items()]
    value_size = sum((p.size for p in parts), start=len(looks.prefix))
    if node is not OPAQUE:
        announced = raw["evlen"].to_numpy()
        if not (announced == value_size).all():
            raise MismatchError("a value shorter or longer than announced")
        value_size = value_size + sizes_of(announced)
    length = raw["elen"].to_numpy()
    head = 1 + sizes_of(raw["ets"].to_numpy()) + sizes_of(raw["eoff"].to_numpy()) + key_size
    if not (length == head + value_size + 1).all():
        raise MismatchError("a record shorter or longer than announced")
    whole = length + sizes_of(length)
    if int(whole.sum()) != len(body):
        raise MismatchError("bytes left over")
    if any(p.node.has_tags for p in parts):
        starts = np.cumsum(whole) - length + head + (value_size - sum((p.size for p in parts), start=0))
        if not tags_fit(parts, starts, body):
            raise MismatchError("a union branch that does not exist")


def tags_fit(parts: Sequence[Measured], starts: Any, body: bytes | memoryview) -> bool:
    """Whether the union tags of values that begin at `starts` are right."""
    octets = np.frombuffer(body, np.uint8)
    at = starts
    for part in parts:
        if not check_tags(part, at, octets):
            return False
        at = at + part.size
    return True


def _check_prefix(raw: pl.DataFrame, prefix: bytes) -> None:
    """Prefixes are read as a small number and a float of the same bytes: cheaper than columns of tiny byte strings."""
    if not prefix:
        return
    if len(prefix) == PREFIX_CONFLUENT:
        magic, bits = int(prefix[0]), np.frombuffer(prefix, np.int32, 1, 1)[0]
        found = raw["eid"].to_numpy().view(np.int32)
    else:
        magic, bits = read_varint(prefix, 0, 2)[0], np.frombuffer(prefix, np.int64, 1, 2)[0]
        found = raw["eid"].to_numpy().view(np.int64)
    if not ((raw["emagic"].to_numpy() == magic).all() and (found == bits).all()):
        raise MismatchError("several schemas in one batch")


@lru_cache(maxsize=256)
def _header(node: Node, null_keys: bool, prefix_size: int) -> bytes:
    fields = [
        {"name": "elen", "type": "long"},
        {"name": "eattr", "type": "long"},  # always 0 so far
        {"name": "ets", "type": "long"},
        {"name": "eoff", "type": "long"},
        {"name": "ekey", "type": "long" if null_keys else "bytes"},
    ]
    if node is not OPAQUE:
        fields.append({"name": "evlen", "type": "long"})
    if prefix_size:
        fields.append({"name": "emagic", "type": "long"})
        fields.append({"name": "eid", "type": "float" if prefix_size == PREFIX_CONFLUENT else "double"})
    return header_of([*fields, *raw_columns(node), {"name": "eheaders", "type": "long"}])


@lru_cache(maxsize=1)
def _deletions_header() -> bytes:
    longs = ("elen", "eattr", "ets", "eoff", "ekey", "evlen", "eheaders")
    return header_of([{"name": name, "type": "bytes" if name == "ekey" else "long"} for name in longs])


def _positions(batches: Sequence[RecordBatch], counts: Any, off: Any) -> Any:
    base = np.repeat(np.array([b.base_offset for b in batches], np.int64), counts)
    last = np.repeat(np.array([b.last_offset for b in batches], np.int64), counts)
    position = base + off
    if len(position) and (int(off.min()) < 0 or (position > last).any() or (np.diff(position) <= 0).any()):
        raise MismatchError("offsets out of order")
    return position


def _times(batches: Sequence[RecordBatch], counts: Any, delta: Any) -> Any:
    appended = np.array([b.log_append_time for b in batches])
    base = np.array([b.max_timestamp_ms if b.log_append_time else b.base_timestamp_ms for b in batches], np.int64)
    ts = np.repeat(base, counts)
    if appended.any():
        delta = np.where(np.repeat(appended, counts), 0, delta)
    if len(delta) and int(delta.max()) > (1 << 62):  # beyond any time; the slow path clips it
        raise MismatchError("a time beyond 64 bits")
    return ts + delta
