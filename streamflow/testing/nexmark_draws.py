"""Random numbers of the Nexmark generator: SplitMix64, many generators at once.

A generator's n-th state is its first one and n times a constant, so a column of generators draws in a few numpy
operations. Rows that a branch leaves out do not draw: `where` says which do, and what the others get means nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SEED_FACTOR: Final = 0xD1342543DE82EF95
_STEP: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1


def mix(z: UInt64s) -> UInt64s:
    """SplitMix64's output function, element by element, modulo 2^64."""
    z = z ^ (z >> np.uint64(30))
    z = z * np.uint64(0xBF58476D1CE4E5B9)
    z = z ^ (z >> np.uint64(27))
    z = z * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """A generator for each of `streams` (shape n). All results have shape n."""

    def __init__(self, seed: int, streams: UInt64s) -> None:
        self._state = mix(np.uint64(seed * _SEED_FACTOR & _MASK) + streams)

    def next(self, where: Bools | None = None) -> UInt64s:
        """The next 64 bits of each generator, or of those in `where`."""
        moved = self._state + np.uint64(_STEP)
        self._state = moved if where is None else np.where(where, moved, self._state)
        return mix(moved)

    def below(self, bound: int | Int64s, where: Bools | None = None) -> Int64s:
        """A whole number from 0 up to, not including, `bound` >= 1."""
        draw = self.next(where)
        return (draw % (np.uint64(bound) if isinstance(bound, int) else bound.astype(np.uint64))).astype(np.int64)

    def unit(self) -> Float64s:
        """A double in [0, 1)."""
        return (self.next() >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def prices(self) -> list[int]:
        """Cents, log-uniform from 100 to 10^8."""
        # Power by power as C computes it: numpy's own may differ in the last bit from one processor to another.
        return [int(10.0 ** (6.0 * u) * 100.0 + 0.5) for u in self.unit().tolist()]

    def texts(self, length_max: int, special: str = " ") -> list[str]:
        """Small letters with `special` here and there, 3 to `length_max - 1` of them before blanks at the ends go."""
        lengths = 3 + self.below(length_max - 3)
        signs = np.zeros((len(lengths), length_max - 1), np.uint8)
        for at in range(length_max - 1):
            draw = self.next(lengths > at)
            letter = ord("a") + (draw >> np.uint64(8)) % np.uint64(26)
            signs[:, at] = np.where(draw % np.uint64(13) == 0, np.uint64(ord(special)), letter)
        text, width = signs.tobytes().decode("ascii"), length_max - 1
        return [
            text[start : start + length].strip(" ")
            for start, length in zip(range(0, len(text), width), lengths.tolist(), strict=True)
        ]


def sequence(seed: int, stream: int, count: int) -> UInt64s:
    """The first `count` draws of one generator, in order."""
    first = mix(np.array([(seed * _SEED_FACTOR + stream) & _MASK], np.uint64))
    return mix(first + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP))
