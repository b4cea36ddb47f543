"""Compression of record batches, bounded on the way back: a few bytes from outside must not become gigabytes here."""

from __future__ import annotations

import threading
from typing import Final

import cramjam
from aiokafka.codec import gzip_encode, snappy_decode, snappy_encode

from streamflow.sdk.errors import CodecError, LogCorrupt
from streamflow.sdk.log import Compression

CODES: Final[dict[Compression, int]] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
NAMES: Final[dict[int, Compression]] = {code: name for name, code in CODES.items()}

DECOMPRESSED_BYTES_MAX: Final = 256 << 20
FREE_BYTES: Final = 16 << 20  # below this any ratio is fine
RATIO_MAX: Final = 1024  # above it, no more than this many times the stored size
_SCRATCH_BYTES, _SCRATCH_KEPT_BYTES_MAX = 4 << 20, 32 << 20
_XERIAL = b"\x82SNAPPY\x00"

_scratch = threading.local()


def compress(body: bytes, compression: Compression) -> bytes:
    """`body` as Kafka's readers of every language expect it (LZ4: frames of independent blocks; snappy: Xerial
    blocks).
    """
    if compression == "none":
        return body
    if compression == "lz4":
        # Level 1 and independent blocks: the Java reader refuses linked ones.
        compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
        compressor.compress(body)
        return bytes(compressor.finish())
    if compression == "zstd":
        return bytes(cramjam.zstd.compress(body, level=3))
    if compression == "gzip":
        return bytes(gzip_encode(body, 6))
    return bytes(snappy_encode(body))


def decompress(stored: memoryview, compression: Compression) -> bytes:
    """The inverse of `compress`.

    Raises:
        LogCorrupt: the bytes are no such stream.
        CodecError: more than DECOMPRESSED_BYTES_MAX, or more than RATIO_MAX times the stored size.
    """
    if compression == "none":
        return bytes(stored)
    limit = min(DECOMPRESSED_BYTES_MAX, max(FREE_BYTES, RATIO_MAX * len(stored)))
    if compression == "snappy":
        return _snappy(bytes(stored), limit)
    module = {"lz4": cramjam.lz4, "zstd": cramjam.zstd, "gzip": cramjam.gzip}[compression]
    room = min(limit, _SCRATCH_BYTES)
    while True:
        scratch = memoryview(_buffer(room))[:room]
        try:
            size = module.decompress_into(stored, scratch)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise LogCorrupt(f"{compression}: {error}.") from error
            if room >= limit:
                raise _too_large(compression, len(stored), limit) from error
            room = min(limit, room * 4)
            continue
        return bytes(scratch[:size])


def _buffer(size: int) -> bytearray:
    """Scratch of this thread: decompressing into memory that is already mapped costs no page faults."""
    kept: bytearray | None = getattr(_scratch, "buffer", None)
    if kept is None or len(kept) < size:
        kept = bytearray(size)
        if size <= _SCRATCH_KEPT_BYTES_MAX:
            _scratch.buffer = kept
    return kept


def _snappy(stored: bytes, limit: int) -> bytes:
    """Snappy states its size up front, so the sum of the blocks' own words is checked before any is unpacked."""
    total, at = 0, 0
    if stored.startswith(_XERIAL):
        at = 16
        while at + 4 <= len(stored):
            size = int.from_bytes(stored[at : at + 4], "big")
            total += _preamble(stored[at + 4 : at + 14])
            at += 4 + size
    else:
        total = _preamble(stored[:10])
    if total > limit:
        raise _too_large("snappy", len(stored), limit)
    try:
        return bytes(snappy_decode(stored))
    except (cramjam.DecompressionError, ValueError, IndexError) as error:
        raise LogCorrupt(f"snappy: {error}.") from error


def _preamble(block: bytes) -> int:
    size = 0
    for i, byte in enumerate(block):
        size |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            break
    return size


def _too_large(compression: str, stored: int, limit: int) -> CodecError:
    return CodecError(
        f"{compression}: {stored} stored bytes decompress to more than {limit} bytes.",
        mend="Such a batch is refused as a decompression bomb; let the producer write smaller batches.",
    )
