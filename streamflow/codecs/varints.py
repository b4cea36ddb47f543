"""Zigzag varints, which Avro and Kafka share: single ones, and whole columns of them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.int64] | int  # bytes per row; one number when all rows have it
_LIMITS: Final = tuple(1 << bits for bits in range(6, 63, 7))  # a magnitude below _LIMITS[i] takes i + 1 bytes


def varint(n: int) -> bytes:
    """The bytes of one number."""
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n & ~0x7F:
        out.append((n & 0x7F) | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(buffer: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """The number at `buffer[at:end]` and the position behind it. Raises ValueError when it is cut or over 10 bytes."""
    if at < end and (byte := buffer[at]) < 0x80:  # most are one byte, and damaged values are walked in Python
        return (byte >> 1) ^ -(byte & 1), at + 1
    n = shift = 0
    while at < end:
        byte = buffer[at]
        at += 1
        n |= (byte & 0x7F) << shift
        if byte < 0x80:
            n &= (1 << 64) - 1  # the tenth byte has bits to spare; every reader drops them
            return (n >> 1) ^ -(n & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 10 bytes")
    raise ValueError("a number that is cut off")


def size_of(n: int) -> int:
    """Bytes that one number takes."""
    magnitude = n ^ (n >> 63)
    return 1 + sum(magnitude >= limit for limit in _LIMITS)


def sizes_of(numbers: npt.NDArray[np.int64]) -> Sizes:
    """Bytes that each number takes; most columns answer with one number for all rows."""
    if not len(numbers):
        return 1
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0:
        if size_of(low) == size_of(high) == 1:
            return 1
        numbers = numbers ^ (numbers >> 63)
        low, high = int(numbers.min()), int(numbers.max())
    first, last = size_of(low), size_of(high)
    if first == last:
        return first
    sizes = np.full(len(numbers), first, np.int64)
    for limit in _LIMITS[first - 1 : last - 1]:
        sizes += numbers >= limit
    return sizes


def encode_column(numbers: npt.NDArray[np.int64]) -> tuple[Bytes, Sizes]:
    """All numbers as varints, back to back, and how many bytes each took."""
    sizes = sizes_of(numbers)
    zigzag = (numbers.view(np.uint64) << np.uint64(1)) ^ (numbers >> 63).view(np.uint64)
    if isinstance(sizes, int) and sizes == 1:
        return zigzag.astype(np.uint8), 1
    widest = sizes if isinstance(sizes, int) else int(sizes.max())
    table = np.empty((len(numbers), widest), np.uint8)
    for i in range(widest):
        table[:, i] = (zigzag & np.uint64(0x7F)).astype(np.uint8) | np.uint8(0x80)
        zigzag >>= np.uint64(7)
    if isinstance(sizes, int):
        table[:, widest - 1] &= 0x7F
        return table.reshape(-1), sizes
    table[np.arange(len(numbers)), sizes - 1] &= 0x7F
    return table[np.arange(widest) < sizes[:, None]], sizes
