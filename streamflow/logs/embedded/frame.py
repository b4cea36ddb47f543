"""Commit frames: one committed change of the log, whole or not there.

    header   magic, version, size of meta, size of data, number, CRC of the header before, CRC of meta, own CRC
    meta     what changed, as JSON (`Change`)
    data     record batches in Kafka's format, with their final offsets

Each header holds the CRC of the header before it, so a frame that was lost, doubled or exchanged is noticed. The record
batches carry their own CRCs. What Kafka's CRC leaves out (base offset, length) is sealed by a CRC of ours over the
batch's header, in the field `partitionLeaderEpoch`, which means nothing without a broker; it also makes a header
trustworthy that is read without its records. So all data is covered although nothing is computed over it while the log
is held.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import google_crc32c
import orjson

from streamflow.codecs.recordbatch import HEADER_SIZE

_HEADER = struct.Struct("<4sHHIIQII")  # …, CRC of the header follows
MAGIC = b"SFjf"
VERSION = 1
HEADER_BYTES = _HEADER.size + 4

_SEAL_AT, _SEAL_END, _CRC_AT, _CRC_FROM = 12, 16, 17, 21  # of a record batch


class BatchRef(NamedTuple):
    """A record batch of a frame, in the order of the frame's data."""

    topic: str
    partition: int
    base: int
    last: int
    size_bytes: int
    max_timestamp_ms: int


@dataclass(slots=True)
class Change:
    """What a frame changes. Most frames use few of these."""

    batches: list[BatchRef] = field(default_factory=list)
    offsets: list[tuple[str, str, int, int | None, str]] = field(default_factory=list)  # group, topic, partition, …
    producers: list[tuple[str, int]] = field(default_factory=list)  # transactional id, epoch
    created: list[tuple[str, int, str, dict[str, str]]] = field(default_factory=list)  # name, partitions, incarnation
    deleted: list[str] = field(default_factory=list)
    starts: list[tuple[str, int, int]] = field(default_factory=list)  # topic, partition, first offset kept

    def encode(self) -> bytes:
        parts = {"b": self.batches, "o": self.offsets, "p": self.producers, "c": self.created}
        parts |= {"x": self.deleted, "s": self.starts}
        return orjson.dumps(
            {k: v for k, v in parts.items() if v}, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=tuple
        )

    @classmethod
    def decode(cls, data: bytes) -> Change:
        parts = orjson.loads(data)
        return cls(
            batches=[BatchRef(*b) for b in parts.get("b", ())],
            offsets=[tuple(o) for o in parts.get("o", ())],
            producers=[tuple(p) for p in parts.get("p", ())],
            created=[tuple(c) for c in parts.get("c", ())],
            deleted=parts.get("x", []),
            starts=[tuple(s) for s in parts.get("s", ())],
        )


class FrameHeader(NamedTuple):
    """A frame's header whose CRC was right."""

    seq: int
    previous: int  # CRC of the header before
    meta_bytes: int
    data_bytes: int
    meta_crc: int
    crc: int  # of this header: what the next one holds as `previous`

    @property
    def size_bytes(self) -> int:
        return HEADER_BYTES + self.meta_bytes + self.data_bytes


def encode_header(*, seq: int, previous: int, meta: bytes, data_bytes: int, salt: int) -> tuple[bytes, int]:
    """The header of a frame, and its CRC. `salt` is the log's own number: frames of other logs do not count here."""
    head = _HEADER.pack(MAGIC, VERSION, 0, len(meta), data_bytes, seq, previous, google_crc32c.value(meta))
    crc = google_crc32c.extend(salt, head)
    return head + crc.to_bytes(4, "little"), crc


def decode_header(buffer: bytes, at: int, *, salt: int) -> FrameHeader | None:
    """The header at `at`; None if there is none or its CRC is wrong."""
    head = buffer[at : at + HEADER_BYTES]
    if len(head) < HEADER_BYTES or head[:4] != MAGIC:
        return None
    crc = google_crc32c.extend(salt, head[: _HEADER.size])
    if crc != int.from_bytes(head[_HEADER.size :], "little"):
        return None
    _, _, _, meta_bytes, data_bytes, seq, previous, meta_crc = _HEADER.unpack_from(head)
    return FrameHeader(seq, previous, meta_bytes, data_bytes, meta_crc, crc)


def version_of(buffer: bytes, at: int) -> int:
    """Version in the header at `at`, which decode_header accepted."""
    return int.from_bytes(buffer[at + 4 : at + 6], "little")


def place(batch: bytes, base: int) -> list[bytes | memoryview]:
    """`batch` at offset `base`, sealed, as buffers to write. Copies nothing but the first bytes."""
    front = base.to_bytes(8, "big") + batch[8:_SEAL_AT]
    return [front + _seal(front, batch, 0), memoryview(batch)[_SEAL_END:]]


def is_sealed(buffer: bytes, at: int) -> bool:
    """Whether the whole header of the record batch at `at` is there and is the one that was written."""
    if len(buffer) - at < HEADER_SIZE:
        return False
    return buffer[at + _SEAL_AT : at + _SEAL_END] == _seal(buffer[at : at + _SEAL_AT], buffer, at)


def body_is_sound(batch: bytes) -> bool:
    """Whether the CRC of one whole record batch is right."""
    return bool(google_crc32c.value(batch[_CRC_FROM:]) == int.from_bytes(batch[_CRC_AT:_CRC_FROM], "big"))


def _seal(front: bytes, batch: bytes, at: int) -> bytes:
    crc = google_crc32c.extend(google_crc32c.value(front), batch[at + _SEAL_END : at + HEADER_SIZE])
    return int(crc).to_bytes(4, "big")


def size_of(batches: Sequence[BatchRef]) -> int:
    return sum(b.size_bytes for b in batches)
