"""The Avro container file around rows: the only form that polars' Avro reader and writer know."""

from __future__ import annotations

import io
import itertools
from typing import Any, Final

import fastavro
import numpy as np
import polars as pl

from streamflow.codecs.varints import Bytes, read_varint, varint

SYNC_SIZE: Final = 16  # bytes behind the rows of a container


def header_of(fields: list[dict[str, Any]]) -> bytes:
    """The head of a container of records with these fields; its last 16 bytes are the sync marker."""
    buffer = io.BytesIO()
    schema = fastavro.parse_schema({"type": "record", "name": "Row", "fields": fields})
    fastavro.writer(buffer, schema, [], codec="null", sync_marker=bytes(SYNC_SIZE))
    return buffer.getvalue()


def container(header: bytes, count: int, *body: bytes) -> bytes:
    """A container of one block."""
    size = sum(len(part) for part in body)
    return b"".join((header, varint(count), varint(size), *body, header[-SYNC_SIZE:]))


def written(frame: pl.DataFrame) -> Bytes:
    """The rows of a frame as polars writes them: every column, also nested ones, as `["null", T]`, without the
    container.
    """
    buffer = io.BytesIO()
    frame.rechunk().write_avro(buffer)  # it panics on columns that are chunked differently
    view = buffer.getbuffer()
    blocks = [np.frombuffer(view[start:end], np.uint8) for start, end in _blocks(view)]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint8)


def _blocks(view: memoryview) -> list[tuple[int, int]]:
    at, end = 4, len(view)
    while True:  # metadata: a map
        count, at = read_varint(view, at, end)
        if count == 0:
            break
        for _ in itertools.repeat(None, 2 * abs(count)):
            size, at = read_varint(view, at, end)
            at += size
    at += SYNC_SIZE
    found = []
    while at < end:
        _, at = read_varint(view, at, end)
        size, at = read_varint(view, at, end)
        found.append((at, at + size))
        at += size + SYNC_SIZE
    return found
