"""HyperLogLog: how many distinct hashes there were, of the longest run of leading zeros in each of 4,096 classes.

The estimate is the one of Ertl ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6):
without bias for small and for large counts, and without tables.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

REGISTER_BITS: Final = 6  # of a register's value, below its number
_CLASS_BITS: Final = 12
_CLASSES: Final = 1 << _CLASS_BITS
_RUN_MAX: Final = 64 - _CLASS_BITS  # one more where all bits are zero
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def registers(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """What each hash sets: the number of its register, and the place of its first one bit behind that."""
    number = (hashes >> np.uint64(_RUN_MAX)).astype(np.int32)
    rest = (hashes << np.uint64(_CLASS_BITS)) | np.uint64(1 << (_CLASS_BITS - 1))
    high = (rest >> np.uint64(32)).astype(np.float64)
    low = (rest & np.uint64(0xFFFFFFFF)).astype(np.float64)
    leading = np.where(high > 0, 32 - np.frexp(high)[1], 64 - np.frexp(low)[1])
    return (number << REGISTER_BITS) | (leading + 1).astype(np.int32)


def estimates(found: npt.NDArray[np.int32], group: Int64s, groups: int) -> Int64s:
    """How many distinct hashes each group has, from its registers."""
    count = np.zeros((groups, _RUN_MAX + 2), np.int64)
    np.add.at(count, (group, found & ((1 << REGISTER_BITS) - 1)), 1)
    count[:, 0] = _CLASSES - count.sum(axis=1)
    z = _CLASSES * _tau(1 - count[:, _RUN_MAX + 1] / _CLASSES)
    for k in range(_RUN_MAX, 0, -1):
        z = 0.5 * (z + count[:, k])
    z += _CLASSES * _sigma(count[:, 0] / _CLASSES)
    with np.errstate(divide="ignore"):
        return np.rint(_CLASSES * _CLASSES / (2 * math.log(2)) / z).astype(np.int64)


def _sigma(x: Float64s) -> Float64s:
    """x + sum of x^(2^k) 2^(k-1); infinite at 1, where nothing was counted."""
    whole = x == 1
    x = np.where(whole, 0, x)
    y, z, before = 1.0, x.copy(), np.full_like(x, -1)
    while (z != before).any():
        x, before = x * x, z
        z, y = z + x * y, y + y
    return np.where(whole, np.inf, z)


def _tau(x: Float64s) -> Float64s:
    edge = (x == 0) | (x == 1)
    x = np.where(edge, 0.5, x)
    y, z, before = 1.0, 1 - x, np.full_like(x, -1)
    while (z != before).any():
        x, before = np.sqrt(x), z
        y = 0.5 * y
        z = z - (1 - x) ** 2 * y
    return np.where(edge, 0, z / 3)
