"""Kafka's record batch, format v2: the one envelope that both logs store and all codecs read.

Only headers are touched here; no record is decoded (see `records.py` for that). Layout of the 61-byte header,
big-endian:

    base offset 8 | length 4 | leader epoch 4 | magic 1 | CRC-32C 4 | attributes 2 | last offset delta 4
    base timestamp 8 | max timestamp 8 | producer id 8 | producer epoch 2 | base sequence 4 | record count 4

The CRC covers everything from the attributes on, so a log may patch the base offset and the leader epoch of a stored
batch without touching it. Format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import google_crc32c

from streamflow.codecs.compression import CODES, NAMES, compress, decompress
from streamflow.sdk.errors import CodecError, LogCorrupt
from streamflow.sdk.log import Compression, NewBatch, RecordBatch

HEADER_SIZE: Final = 61
BATCH_BYTES_MAX: Final = 512 << 20  # no broker stores more; a larger length is damage
RECORD_BYTES_MIN: Final = 7  # length, attributes, two deltas, key length, value length, header count
NO_PRODUCER: Final = -1

_HEADER = struct.Struct(">qiibIhiqqqhii")
_TAIL = struct.Struct(">hiqqqhii")  # what the CRC covers, up to the records
_MAGIC_AT, _CRC_FROM = 16, 21
_LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a record batch. `size_bytes` is the whole batch, header included."""

    base_offset: int
    size_bytes: int
    leader_epoch: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @property
    def compression(self) -> Compression:
        return NAMES[self.attributes & 0x07]

    @property
    def log_append_time(self) -> bool:
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta


def build(
    batch: NewBatch,
    *,
    base_offset: int,
    compression: Compression,
    producer_id: int = NO_PRODUCER,
    producer_epoch: int = NO_PRODUCER,
    base_sequence: int = NO_PRODUCER,
    transactional: bool = False,
) -> bytes:
    """The stored form of `batch`: header, CRC, records compressed."""
    body = compress(batch.body, compression)
    tail = _TAIL.pack(
        CODES[compression] | (_TRANSACTIONAL if transactional else 0),
        batch.count - 1,
        batch.base_timestamp_ms,
        batch.max_timestamp_ms,
        producer_id,
        producer_epoch,
        base_sequence,
        batch.count,
    )
    crc = google_crc32c.extend(google_crc32c.value(tail), body)
    length = HEADER_SIZE - 12 + len(body)
    return b"".join((struct.pack(">qiibI", base_offset, length, -1, 2, crc), tail, body))


def rebase(stored: bytes | bytearray | memoryview, base_offset: int) -> bytes:
    """A stored batch at another base offset. The CRC does not cover the offset, so it stays valid."""
    return b"".join((struct.pack(">q", base_offset), memoryview(stored)[8:]))


def parse_header(buffer: bytes | bytearray | memoryview, at: int = 0) -> Header:
    """The header of the record batch that starts at `buffer[at]`. The records need not be in the buffer.

    Raises:
        CodecError: message format 0 or 1 (written before Kafka 0.11).
        LogCorrupt: too few bytes, or a length or count that cannot be.
    """
    if len(buffer) - at < HEADER_SIZE:
        raise LogCorrupt(
            f"record batch at byte {at}: header needs {HEADER_SIZE} bytes, {max(len(buffer) - at, 0)} are left."
        )
    magic = buffer[at + _MAGIC_AT]
    if magic < 2:
        raise CodecError(
            f"record batch at byte {at}: message format {magic} is older than the record batch (2).",
            mend="Rewrite the topic with a producer of Kafka 0.11 or newer.",
        )
    if magic > 2:
        raise LogCorrupt(f"record batch at byte {at}: magic byte is {magic}, only 2 is known.")
    base_offset, length, epoch, _, crc, *rest = _HEADER.unpack_from(buffer, at)
    header = Header(base_offset, length + 12, epoch, crc, *rest)
    if not HEADER_SIZE <= header.size_bytes <= BATCH_BYTES_MAX:
        raise LogCorrupt(f"record batch at byte {at}: length field is {length}, outside [49, {BATCH_BYTES_MAX}].")
    if header.count < 0 or header.last_offset_delta < 0 or header.count > header.last_offset_delta + 1:
        raise LogCorrupt(
            f"record batch at byte {at}: {header.count} records cannot span offsets 0..{header.last_offset_delta}."
        )
    if header.attributes & 0x07 not in NAMES:
        raise LogCorrupt(f"record batch at byte {at}: unknown compression {header.attributes & 0x07}.")
    return header


def check_crc(buffer: bytes | bytearray | memoryview, at: int, header: Header) -> None:
    """Raises LogCorrupt unless the whole batch is in the buffer and its CRC fits."""
    end = at + header.size_bytes
    if len(buffer) < end:
        raise LogCorrupt(f"record batch at byte {at}: {header.size_bytes} bytes long, {len(buffer) - at} are left.")
    with memoryview(buffer) as view, view[at + _CRC_FROM : end] as covered:
        found = google_crc32c.value(bytes(covered))  # it takes nothing but bytes; the copy is a memcpy
    if found != header.crc:
        raise LogCorrupt(
            f"record batch at byte {at} (offset {header.base_offset}): CRC is {found:08x}, "
            f"header says {header.crc:08x}."
        )


def open_batch(buffer: bytes | bytearray | memoryview, at: int = 0) -> RecordBatch:
    """Check and decompress the record batch that starts at `buffer[at]`.

    Raises:
        LogCorrupt: damage (length, CRC, compressed data).
        CodecError: an old message format, or records that would decompress beyond the limit (see `compression`).
    """
    header = parse_header(buffer, at)
    check_crc(buffer, at, header)
    with memoryview(buffer) as view, view[at + HEADER_SIZE : at + header.size_bytes] as stored:
        body = decompress(stored, header.compression)
    if header.count * RECORD_BYTES_MIN > len(body):
        raise LogCorrupt(
            f"record batch at byte {at} (offset {header.base_offset}): "
            f"{header.count} records cannot fit {len(body)} bytes."
        )
    return RecordBatch(
        base_offset=header.base_offset,
        last_offset=header.last_offset,
        count=header.count,
        base_timestamp_ms=header.base_timestamp_ms,
        max_timestamp_ms=header.max_timestamp_ms,
        body=body,
        size_bytes=header.size_bytes,
        log_append_time=header.log_append_time,
    )


def as_read(batch: NewBatch, *, base_offset: int = 0) -> RecordBatch:
    """The batch as a reader would get it, without storing it: for tests and in-memory logs."""
    return RecordBatch(
        base_offset=base_offset,
        last_offset=base_offset + batch.count - 1,
        count=batch.count,
        base_timestamp_ms=batch.base_timestamp_ms,
        max_timestamp_ms=batch.max_timestamp_ms,
        body=batch.body,
        size_bytes=HEADER_SIZE + len(batch.body),
    )
