"""Which partition a key belongs to: murmur2 exactly as Kafka's Java client computes it, for whole columns.

Producers of other languages place keys with the same function. Only if ours agrees bit for bit are topics that they
write and topics that we write co-partitioned.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

_M = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF
_PADDING = b"\0\0\0\0"  # makes the tail of every key, even an empty one, a whole zero-filled word

# Keys of up to this many bytes become a table of words; beyond, a few long ones would make it mostly padding.
_SHORT_MAX = 64

# Below this many keys still unfinished, numpy's cost per call exceeds that of plain integers; without the switch one
# very long key would cost two calls into numpy per four bytes.
_FEW_KEYS_MAX = 16


def murmur2(keys: pl.Series) -> NDArray[np.int32]:
    """Kafka's murmur2 of each key (Binary, no nulls needed: a null hashes as an empty key), as Java's signed int."""
    sizes = keys.bin.size()
    lengths = (sizes.fill_null(0) if sizes.null_count() else sizes).to_numpy().astype(np.int64)
    if not len(lengths):
        return np.empty(0, np.int32)
    if lengths.max() <= _SHORT_MAX:
        return _short(keys, lengths)
    # Longest first, so that the keys which still have words left are always a prefix.
    order = np.argsort(-lengths, kind="stable") if lengths.min() != lengths.max() else None
    if order is not None:
        keys, lengths = keys.gather(order), lengths[order]
    padded = keys.to_frame("k").select(pl.col("k").fill_null(b"") + pl.lit(_PADDING)).to_series()

    hashes = np.uint32(_SEED) ^ lengths.astype(np.uint32)
    words = lengths >> 2
    ascending = -words
    for word in range(int(words[0])):
        unfinished = int(np.searchsorted(ascending, -word, side="left"))  # how many keys have more words than `word`
        if unfinished <= _FEW_KEYS_MAX:
            for i in range(unfinished):
                hashes[i] = _rest_of_one(padded[i], word, int(words[i]), int(hashes[i]))
            break
        hashes[:unfinished] = hashes[:unfinished] * np.uint32(_M) ^ _scramble(_word(padded.head(unfinished), 4 * word))
    return _finish(hashes, padded, lengths, order)


def partition_for(keys: pl.Series, count: int, *, default: int | NDArray[np.integer] = 0) -> NDArray[np.int32]:
    """The partition in [0, count) of each key, as Kafka's default partitioner places keys.

    Null keys have no hash. They go to `default`: a partition, or one per row, chosen by the caller so that the same
    input always gives the same placement (as a rule the partition that the row came from).
    """
    placed = (murmur2(keys) & np.int32(0x7FFFFFFF)) % np.int32(count)
    if not keys.null_count():
        return placed
    return np.where(keys.is_null().to_numpy(), default, placed).astype(np.int32)


def partition_of_executions(ids: pl.Series, partitions: int) -> NDArray[np.int32]:
    """The partition of each execution, by its id without what its topic was made as: the same on any log."""
    return partition_for(ids.str.replace("#[^/]*/", "/").cast(pl.Binary), partitions)


def _short(keys: pl.Series, lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """All keys as rows of one table, zero-filled, with room for a tail of no bytes."""
    width = (int(lengths.max()) // 4 + 1) * 4
    filled = (pl.col("k").fill_null(b"") + pl.lit(bytes(width))).bin.slice(0, width)
    table = keys.to_frame("k").select(filled.bin.reinterpret(dtype=pl.Array(pl.UInt32, width // 4)))["k"].to_numpy()
    hashes, whole = np.uint32(_SEED) ^ lengths.astype(np.uint32), lengths >> 2
    least = int(whole.min())
    for word in range(int(whole.max())):
        mixed = hashes * np.uint32(_M) ^ _scramble(table[:, word])
        hashes = mixed if word < least else np.where(whole > word, mixed, hashes)
    tail = np.take_along_axis(table, whole[:, None], axis=1)[:, 0]
    return _end(hashes, lengths & 3, tail).view(np.int32)


def _word(padded: pl.Series, start: pl.Series | int) -> NDArray[np.uint32]:
    frame = pl.DataFrame({"k": padded})
    at: pl.Expr | int = start if isinstance(start, int) else pl.lit(start)
    sliced = frame.select(pl.col("k").bin.slice(at, 4).bin.reinterpret(dtype=pl.UInt32(), endianness="little"))
    return sliced.to_series().to_numpy()


def _scramble(k: NDArray[np.uint32]) -> NDArray[np.uint32]:
    k = k * np.uint32(_M)
    k ^= k >> np.uint32(24)
    return k * np.uint32(_M)


def _end(hashes: NDArray[np.uint32], tails: NDArray[np.int64], tail: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """`tails`: bytes of each key behind its last whole word; `tail`: the word that they begin. What follows them there
    is padding, and zero changes nothing.
    """
    hashes = np.where(tails > 0, (hashes ^ tail) * np.uint32(_M), hashes)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(_M)
    hashes ^= hashes >> np.uint32(15)
    return hashes


def _rest_of_one(key: bytes, word: int, words: int, h: int) -> int:
    for at in range(4 * word, 4 * words, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _M & _MASK
        k ^= k >> 24
        h = (h * _M & _MASK) ^ (k * _M & _MASK)
    return h


def _finish(
    hashes: NDArray[np.uint32], padded: pl.Series, lengths: NDArray[np.int64], order: NDArray[np.int64] | None
) -> NDArray[np.int32]:
    tails = lengths & 3
    signed = _end(hashes, tails, _word(padded, pl.Series(lengths - tails))).view(np.int32)
    if order is None:
        return signed
    restored = np.empty_like(signed)
    restored[order] = signed
    return restored
